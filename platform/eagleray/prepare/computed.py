"""Rows that are not stored but computed when asked for (``prepare.materialise: false``)."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from eagleray.options import RunOptions
from eagleray.prepare.columns import arrow_schema, row_at, to_table
from eagleray.prepare.faults import Fault, FaultError, persistently
from eagleray.prepare.fingerprint import (
    IdentifiedRows,
    canonical_json,
    record_identity,
    short_hash,
)
from eagleray.prepare.keys import KeyIndex
from eagleray.prepare.listing import Listing
from eagleray.prepare.shard import describe_error
from eagleray.prepare.stage_run import workers_of
from eagleray.prepare.survey import StageRun, average_items, cut, fit_digest, list_inputs
from eagleray.prepare.worker import StageJob, run_fit
from eagleray.scheduling import local_machine
from eagleray.task import EaglerayError, InputError, Item, Record, Stage

_RECORDS_KEPT = 256
_ITEMS_PER_BLOCK = 1024
"""Items read from the listing at a time."""
_BLOCKS_KEPT = 16


class ComputedRows(IdentifiedRows):
    """Rows of a stage that gives one record per item, under the item's key; the stage runs in the
    reading process.

    The stage is set up once per process, when the first row is asked for. Safe to pickle and to
    thread.

    Args:
        run: The stage, its folder, and the rows that it reads.
        listing: Its inputs.
        fit_digest: Name of what ``fit`` found; empty without a fit.
        fitted: What it found.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        run: StageRun,
        listing: Listing,
        fit_digest: str,
        fitted: Mapping[str, Any],
        device: str,
    ) -> None:
        self._arguments = (run, listing, fit_digest, fitted, device)
        self._stage, self._run, self._listing = run.stage, run, listing
        self._fit_digest, self._fitted, self._device = fit_digest, fitted, device
        self._lock = threading.RLock()
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._blocks: OrderedDict[int, Sequence[Item]] = OrderedDict()

    @classmethod
    def open(cls, run: StageRun, options: RunOptions) -> ComputedRows:
        """List a stage's inputs, fit it where it asks for that, and return its rows; nothing else
        is computed.
        """
        listing = list_inputs(run, options.limit)
        group = workers_of(run.stage, local_machine(), options.with_workers(1))
        job = StageJob(run, listing, (), group.device, fit_digest(run.stage, listing))
        if not job.is_fitted:
            run_fit(job)
        fitted = job.with_fitted().fitted
        return cls(run, listing, job.fit_digest, fitted, group.device)

    def __reduce__(self) -> tuple[type[ComputedRows], tuple[Any, ...]]:
        return (ComputedRows, self._arguments)

    def __len__(self) -> int:
        return self._listing.num_items

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._index.find(key) is not None

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        """Compute one row.

        Raises:
            KeyError: There is no such item.
            InputError: The item is bad.
            FaultError: It failed in the stage's own code.
        """
        record = self._record(key)
        try:
            return row_at(to_table([record], "", self._schema), 0)
        except pa.ArrowException as error:
            raise InputError(f"row {key!r}: {describe_error(error)}") from error

    def keys(self) -> Sequence[str]:
        """Return the item keys in listing order."""
        return self._index.keys

    def read_file(self, key: str, name: str) -> bytes:
        """Return the file ``name`` that the record ``key`` carries."""
        files = self._record(key).files
        if name not in files:
            raise EaglerayError(f"row {key!r} carries no file {name!r}, it has {sorted(files)}")
        return files[name]

    def shard_idx(self, key: str) -> int:
        """Return the number of the shard that would hold ``key``."""
        position = self._index.position(key)
        return int(np.searchsorted(self._last_items, position, side="right"))

    def summary(self) -> Mapping[str, Any]:
        """Return what ``Stage.finish`` gives; computes all rows if the stage has a ``finish``."""
        return self._summary

    @property
    def listing(self) -> str:
        """Return the digest of the inputs."""
        return self._listing.digest

    @property
    def digest(self) -> str:
        """Return a name that changes when any row may have changed."""
        names = (self._run.folder.fingerprint, self._listing.digest, self._fit_digest)
        return short_hash("/".join(names).encode())

    def find_identity(self, key: str) -> str | None:
        """Return what a stage downstream depends on when it reads this row; None without such a
        row.
        """
        position = self._index.find(key)
        if position is None:
            return None
        return record_identity(self._item(position), self._fit_digest)

    @cached_property
    def _summary(self) -> Mapping[str, Any]:
        if type(self._stage).finish is Stage.finish:
            return {}
        summary: Mapping[str, Any] = self._stage.finish(self)
        canonical_json(summary, f"what finish of stage {self._stage.label} returns")
        return summary

    @cached_property
    def _schema(self) -> pa.Schema:
        return arrow_schema(self._stage.schema)

    @cached_property
    def _ready(self) -> Stage:
        stage = copy.copy(self._stage)
        stage.setup(self._device, self._run.upstream, self._fitted)
        return stage

    @cached_property
    def _index(self) -> KeyIndex:
        chunks = [table.column("key") for table in self._listing.columns("key")]
        arrays = [array for chunk in chunks for array in chunk.chunks]
        return KeyIndex(pa.chunked_array(arrays, type=pa.string()), self._stage.label)

    @cached_property
    def _last_items(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        average = average_items(len(self), self._stage.resources.seconds_per_item, None)
        return np.cumsum(cut(self._listing.key_hashes(), average), dtype=np.int64)

    def _item(self, position: int) -> Item:
        number = position // _ITEMS_PER_BLOCK
        with self._lock:
            if number not in self._blocks:
                start = number * _ITEMS_PER_BLOCK
                self._blocks[number] = self._listing.items(start, _ITEMS_PER_BLOCK)
                while len(self._blocks) > _BLOCKS_KEPT:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(number)
            return self._blocks[number][position % _ITEMS_PER_BLOCK]

    def _record(self, key: str) -> Record:
        with self._lock:
            if key not in self._records:
                self._records[key] = self._compute(key)
                while len(self._records) > _RECORDS_KEPT:
                    self._records.popitem(last=False)
            self._records.move_to_end(key)
            return self._records[key]

    def _compute(self, key: str) -> Record:
        stage = self._ready
        item = self._item(self._index.position(key))
        try:
            records = persistently(lambda: stage.encode(stage.process([stage.load(item)])[0]))
        except (InputError, torch.OutOfMemoryError) as error:
            raise InputError(
                f"item {key!r} cannot be processed: {describe_error(error)}"
            ) from error
        except EaglerayError:
            raise
        except Exception as error:
            raise FaultError(stage.label, [Fault.of(key, error)]) from error
        if len(records) != 1 or records[0].key != key:
            raise EaglerayError(
                f"stage {stage.label!r} gives {[record.key for record in records]} for the item "
                f"{key!r}, but rows can be computed on demand only where each item gives one "
                "record with its key: set prepare.materialise to true"
            )
        return records[0]
