"""Rows that are not stored but computed when asked for (``prepare.materialise: computed``)."""

from __future__ import annotations

import copy
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from eagleray.options import Device, RunOptions
from eagleray.prepare.answering import EncodedRow, NoItemError, StageServer
from eagleray.prepare.columns import arrow_schema
from eagleray.prepare.fingerprint import (
    IdentifiedRows,
    canonical_json,
    record_identity,
    short_hash,
)
from eagleray.prepare.keys import KeyIndex
from eagleray.prepare.listing import Listing
from eagleray.prepare.loads import LoadElsewhere
from eagleray.prepare.stage_run import ensure_fitted
from eagleray.prepare.survey import StageRun, average_items, cut, fit_of, list_inputs
from eagleray.prepare.worker import StageJob
from eagleray.task import EaglerayError, Item, Rows, SettingsError, Stage

_ITEMS_PER_BLOCK = 1024
"""Items read from the listing at a time."""
_BLOCKS_KEPT = 16
_CACHE_GB = 0.25


@dataclass(frozen=True)
class Computation:
    """What a process needs to compute rows of a stage; picklable.

    Args:
        run: The stage, its folder, and the rows that it reads.
        listing: Its inputs.
        fit_digest: Name of what ``fit`` found; empty without a fit.
        fitted: What it found.
        asked: Where models are to run, as the user said.
        cache_bytes: Most bytes of rows that a process keeps.
        place: Device of the process that reads, such as ``cuda:1``; None for what it finds.
    """

    run: StageRun
    listing: Listing
    fit_digest: str
    fitted: Mapping[str, Any]
    asked: Device
    cache_bytes: float
    place: str | None = None

    @property
    def device(self) -> str:
        """Where the stage runs in this process.

        Raises:
            SettingsError: A GPU was asked for and there is none.
        """
        if self.run.stage.resources.gpus == 0 or self.asked == "cpu":
            return "cpu"
        if self.place is not None and self.place != "cpu":
            return self.place
        if torch.cuda.is_available():
            return "cuda"
        if self.asked == "cuda":
            raise SettingsError(
                f"stage {self.run.stage.label}: device 'cuda' was asked for, but the process that "
                "reads its rows has no GPU; use device 'auto' or 'cpu', or store the rows "
                "(prepare.materialise)"
            )
        return "cpu"

    def set_up(self, stage: Stage) -> None:
        """Set a copy of the stage up in the process and thread that process."""
        upstream = self.run.upstream
        if self.place is not None:
            upstream = rows_at(upstream, torch.device(self.place))
        stage.setup(self.device, upstream, self.fitted)


class ComputedRows(IdentifiedRows):
    """Rows of a stage that gives one record per item, under the item's key; the stage runs in the
    reading process.

    The stage is set up once per process, when the first row is asked for. Safe to pickle and to
    thread.

    Args:
        how: The stage, its inputs and where it runs.
    """

    def __init__(self, how: Computation) -> None:
        self._how, self._stage, self._listing = how, how.run.stage, how.listing
        self._lock = threading.RLock()
        self._server: StageServer | None = None
        self._blocks: OrderedDict[int, Sequence[Item]] = OrderedDict()

    @classmethod
    def open(cls, run: StageRun, options: RunOptions, cache_gb: float = _CACHE_GB) -> Self:
        """List a stage's inputs, have a worker fit it where it asks for that, and return its rows;
        nothing else is computed.
        """
        listing = list_inputs(run, options.limit)
        job = ensure_fitted(StageJob(run, listing, (), "cpu", fit_of(run, listing)), options)
        how = Computation(run, listing, job.fit.digest, job.fitted, options.device, cache_gb * 1e9)
        return cls(how)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (type(self), (self._how,))

    def at(self, place: str) -> ComputedRows:
        """Return the same rows for a process whose device is ``place``."""
        return type(self)(replace(self._how, place=place))

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
            LostDeviceError: This process has lost its device.
        """
        return self.encoded(key).row(self._schema)

    def ask(self, keys: Iterable[str]) -> None:
        """Have rows computed that are read soon; what becomes of them is told when they are."""
        server = self._open_server()
        for key in keys:
            server.ask_ahead(key)

    def answer(self, key: str) -> Future[EncodedRow]:
        """Have a row computed in this process; raises when asked for its result."""
        return self._open_server().ask(key)

    def encoded(self, key: str) -> EncodedRow:
        """Return one row as it is sent; raises as ``__getitem__`` does."""
        return self.answer(key).result()

    def keys(self) -> Sequence[str]:
        """Return the item keys in listing order."""
        return self._index.keys

    def read_file(self, key: str, name: str) -> bytes:
        """Return the file ``name`` that the record ``key`` carries."""
        files = self.encoded(key).files
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

    def fitted(self) -> Mapping[str, Any]:
        """Return what ``Stage.fit`` found; nothing for a stage without one."""
        return self._how.fitted

    @property
    def how(self) -> Computation:
        """Return what computes the rows."""
        return self._how

    @property
    def listing(self) -> str:
        """Return the digest of the inputs."""
        return self._listing.digest

    @property
    def digest(self) -> str:
        """Return a name that changes when any row may have changed."""
        names = (self._how.run.folder.fingerprint, self._listing.digest, self._how.fit_digest)
        return short_hash("/".join(names).encode())

    def find_identity(self, key: str) -> str | None:
        """Return what a stage downstream depends on when it reads this row; None without such a
        row.
        """
        position = self._index.find(key)
        if position is None:
            return None
        return record_identity(self._item(position), self._how.fit_digest)

    def find_item(self, key: str) -> Item:
        """Return the item of a key; raises NoItemError, a KeyError."""
        position = self._index.find(key)
        if position is None:
            raise NoItemError(f"{self._stage.label} has no row {key!r} among {len(self)}")
        return self._item(position)

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

    def _open_server(self) -> StageServer:
        with self._lock:
            if self._server is None:
                self._server = StageServer(
                    copy.copy(self._stage),
                    self.find_item,
                    self._schema,
                    self._how.set_up,
                    self._how.cache_bytes,
                    _elsewhere(self._how),
                )
            return self._server

    @cached_property
    def _index(self) -> KeyIndex:
        chunks = [table.column("key") for table in self._listing.columns("key")]
        arrays = [array for chunk in chunks for array in chunk.chunks]
        return KeyIndex(pa.chunked_array(arrays, type=pa.string()), self._stage.label)

    @cached_property
    def _last_items(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        resources = self._stage.resources
        average = average_items(
            len(self), resources.seconds_per_item, None, resources.bytes_per_item
        )
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


def _elsewhere(how: Computation) -> LoadElsewhere | None:
    """Return what loads items on other machines; None where the stage does not ask for that, or
    this process has no Ray (``--inline``, and the processes that load for a rank).
    """
    ray = sys.modules.get("ray")
    if not how.run.stage.resources.remote_loads or ray is None or not ray.is_initialized():
        return None
    from eagleray.prepare.remote_loads import load_elsewhere

    return load_elsewhere(how)


def rows_at(rows: Mapping[str, Rows], device: torch.device) -> dict[str, Rows]:
    """Return rows for a process whose models run on a device: what is computed there, is computed
    on it, and not on the first GPU of the machine.
    """
    place = str(device)
    return {
        label: own.at(place) if isinstance(own, ComputedRows) else own
        for label, own in rows.items()
    }
