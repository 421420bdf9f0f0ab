"""Preprocessing stages: items in, rows and files out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, cast

from pydantic import Field

from eagleray.contract.generics import L, R
from eagleray.contract.settings import Settings


@dataclass(frozen=True, slots=True)
class Item:
    """One input of a stage (an image, a key frame, a scene), as cheap to list as possible.

    Args:
        key: Unique within the stage and stable between listings.
        identity: Changes when the input changes (size and time of the file, a checksum, a seed).
        payload: What ``load`` needs, JSON values only.
    """

    key: str
    identity: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One output row of a stage.

    Args:
        key: Unique within the stage; the item's key where an item gives one record.
        row: Column values by the names of ``Stage.schema``.
        files: Content by relative POSIX path (``overlay/a.png``); unique within the stage.
    """

    key: str
    row: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


class Rows(Protocol):
    """The rows of a finished stage, read by key. Safe to pickle and to use from data-loader
    workers.
    """

    def __len__(self) -> int: ...

    def keys(self) -> Sequence[str]:
        """Return the record keys in listing order."""
        ...

    def __getitem__(self, key: str) -> Mapping[str, Any]: ...

    def read_file(self, key: str, name: str) -> bytes:
        """Return the file ``name`` that the record ``key`` carries."""
        ...

    def shard_idx(self, key: str) -> int:
        """Return the number of the shard that holds ``key`` (for reading in storage order)."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """Return what ``Stage.finish`` gave."""
        ...

    def fitted(self) -> Mapping[str, Any]:
        """Return what ``Stage.fit`` found; nothing for a stage without one."""
        ...


class Resources(Settings):
    """What one worker of a stage asks for; the engine fits it to the machine at hand."""

    cpus: float = Field(default=1.0, gt=0)
    """Logical CPUs per worker."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs per worker, fractions allowed; ignored on machines without one."""
    memory_gb: float = Field(default=0.0, ge=0)
    """Resident memory per worker in GB; 0 = unknown."""
    batch_size: int = Field(default=1, ge=1)
    """Items per call of ``process``."""
    loader_threads: int = Field(default=1, ge=1)
    """Threads that call ``load`` ahead of ``process``."""
    remote_loads: int = Field(default=0, ge=0)
    """Items that CPU-only tasks on other machines load for each worker at a time, beside its own
    threads; for decoding that needs more CPUs than stand beside a GPU."""
    writer_threads: int = Field(default=2, ge=1)
    """Threads that call ``encode`` behind ``process`` and write files."""
    seconds_per_item: float = Field(default=0.1, gt=0)
    """Expected seconds per item, from which shards of about a minute are cut."""
    bytes_per_item: float = Field(default=0.0, ge=0)
    """Expected bytes of an item's rows and files, for `plan` and so that shards fit into memory;
    0 = unknown."""


class Stage(ABC, Generic[L, R]):
    """One preprocessing step: turns items into records that the engine commits in shards.

    ``L`` is what ``load`` gives for an item, ``R`` what ``process`` makes of it (records, or what
    ``encode`` takes).

    A stage is pickled to workers before ``setup``; whatever ``setup`` creates stays on the worker.
    """

    name: str
    version: int = 1
    source: str = ""
    """Which of the task's data it reads (``train``, ``val``); part of the label, not of the
    results' identity."""
    schema: Mapping[str, str]
    """Column name to Arrow type name: ``string, int64, int32, float32, float64, bool, binary,
    list<int32>`` ..."""
    resources: Resources = Resources()
    upstream: tuple[str, ...] = ()
    """Labels of the stages whose rows it reads."""
    fit_items: int = 0
    """How many items ``fit`` wants to see; 0 = no fit. Of several stages whose results
    share a folder (they differ in their source alone) the one with the source ``train`` fits for
    all, or else the first one."""

    @property
    def label(self) -> str:
        """Name of the stage within its experiment, ``name:source``."""
        return f"{self.name}:{self.source}" if self.source else self.name

    @abstractmethod
    def settings(self) -> Settings:
        """Return everything that its results depend on, apart from its inputs.

        Called by the driver.
        """

    def weights(self) -> Sequence[Path]:
        """Return the weight files that its results depend on; their checksums enter the
        fingerprint.
        """
        return ()

    @abstractmethod
    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the inputs in a stable order, without opening them where that can be helped.

        Called by the driver, once per verb.
        """

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Get ready on a worker, once: load networks, keep handles and what ``fit`` found."""

    @abstractmethod
    def load(self, item: Item) -> L:
        """Decode one item on the CPU, from several threads.

        Raises:
            InputError: The data are bad: one counted reject. Any other error is taken for a mistake
                in the code: its traceback is kept, the shard stays open, and three items that fail
                at the same line end the job. An error of storage or network (``is_transient``) is
                tried again.

        Called by ``loader_threads`` threads of every worker.
        """

    @abstractmethod
    def process(self, samples: Sequence[L]) -> Sequence[R]:
        """Turn a batch of loaded samples into records, one sequence per sample, on the device; or
        into what ``encode`` takes.

        Called by one thread of every worker; gradients are on unless the stage switches them off.
        """

    def encode(self, processed: R) -> Sequence[Record]:
        """Turn what ``process`` gave for one sample into records, in threads of its own while the
        device goes on; by default they are records already. Errors count as in ``load``, and an
        EaglerayError that is no InputError (a full disk) ends the job.
        """
        return cast("Sequence[Record]", processed)

    def fit(self, samples: Iterable[L]) -> Mapping[str, Any]:
        """Compute from loaded samples what all workers need (a PCA basis, a codebook), as JSON.

        ``setup`` runs before, with nothing fitted, so that networks may be used.

        Called by one worker, once for items spread over the listing.
        """
        return {}

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Compute one JSON object over all rows, once they are complete.

        Called by the driver, once per listing.
        """
        return {}
