"""Data of a training split or a benchmark, read sample by sample or made on the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, Protocol

from eagleray.contract.generics import B, B_co, S
from eagleray.contract.phase import Phase

if TYPE_CHECKING:  # the command line reads the contract before anything needs them
    import numpy as np
    import torch


class Dataset(ABC, Generic[S, B]):
    """Map-style data of a training split or a benchmark: samples ``S``, joined to batches ``B``."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, index: int) -> str:
        """Return a stable name of the sample (the unit's name in an evaluation)."""

    @abstractmethod
    def load(self, index: int, rng: np.random.Generator) -> S:
        """Read one sample; ``rng`` depends on seed, phase, epoch and sample only.

        Called by a thread or process of the loader on the CPU, and by evaluation workers.
        """

    @abstractmethod
    def collate(self, samples: Sequence[S]) -> B:
        """Join samples to a batch: tensors, or nested dataclasses, tuples, lists and dicts of
        them.

        Called by a thread or process of the loader, on the CPU.
        """

    def reads(self, index: int) -> Iterable[tuple[str, str]]:
        """Name the prepared rows that ``load`` reads for a sample: (label of the stage, key). Rows
        that are not stored are asked for ahead by it; by default none are, and each waits for its
        rows when it is loaded.

        Called by every rank and evaluation worker for its samples, before ``load``.
        """
        return ()

    def group(self, index: int) -> int:
        """Return the sample's group; batches never mix groups (orientation, aspect ratio).

        Called by every rank, once for every sample.
        """
        return 0

    def shard_idx(self, index: int) -> int:
        """Return where the sample is stored, so that neighbours are read together.

        Called by every rank, once for every sample.
        """
        return 0


class Batches(Protocol[B_co]):
    """Training data on the device (the rays of a scene): an iterator that begins at any step."""

    def batches(
        self,
        phase: Phase,
        *,
        seed: int,
        start_step: int,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> Iterator[B_co]:
        """Yield the batches of one rank from ``start_step`` on, one per step.

        What a step draws depends on (seed, phase, step) only; all ranks together draw
        ``phase.batch_size`` samples.

        Called by every rank, once per phase or resumption.
        """
        ...
