"""Order of the training samples: a function of (seed, phase, epoch, global batch) and of nothing
else.

Every epoch the shards of a group are shuffled and their samples shuffled inside them; the row of
samples is cut into as many canonical streams (contiguous blocks) as a global batch has samples, and
each stream is shuffled once more in windows. A global batch takes one sample of each stream; a
worker owns whole streams. So the order is the same for any number of workers, and no worker reads
every shard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError, SettingsError

Indices = npt.NDArray[np.int64]

WINDOW_SIZE = 4096
"""Samples of one stream that are shuffled together; enough to mix a few shards, and read mostly
in order."""


def keyed_rng(*key: object) -> np.random.Generator:
    """Return a generator that depends on the key only (alike in every process and on every
    machine).

    Training seeds by three hashes: SHA-256 here, CRC-32 for torch's global generators
    (``step.seed_step``), CRC-32 with Adler-32 for a sample's own (``StepContext.generator``). One
    would do, but another hash draws other numbers, and every recorded result would move.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


class DataOrder:
    """Which samples the global batch of a step holds.

    Args:
        groups: Group of each sample, (n,); a batch never mixes groups.
        shard_idx: Shard of each sample, (n,).
        batch_size: Samples per global batch = number of canonical streams.
        seed: Seed of the run.
        phase: Name of the phase.

    Raises:
        InputError: There are no samples.

    Example:
        >>> zeros = np.zeros(6, int)
        >>> order = DataOrder(zeros, zeros, batch_size=2, seed=0, phase="main")
        >>> order.steps_in(1), sorted(int(i) for step in range(3) for i in order.batch(step)[1])
        (3, [0, 1, 2, 3, 4, 5])
    """

    def __init__(
        self, groups: Indices, shard_idx: Indices, *, batch_size: int, seed: int, phase: str
    ) -> None:
        if len(groups) == 0:
            raise InputError(
                "the training set has no samples: prepare it first, or look at the rejects of its "
                "stages"
            )
        self.batch_size, self.seed, self.phase = batch_size, seed, phase
        self._shard_idx = shard_idx
        self._members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
        self._cached_epoch = -1
        self._cached: Indices = np.empty((0, batch_size), np.int64)

    def steps_before(self, epoch: int) -> int:
        """Return how many steps the epochs before ``epoch`` have.

        Each group gives floor(epoch * n / batch_size) batches: what is left over in one epoch is
        carried to the next, so small groups have their turn too.
        """
        return sum(epoch * len(m) // self.batch_size for m in self._members)

    def steps_in(self, epochs: float) -> int:
        """Return the length of a phase of so many passes over the data, at least 1 step."""
        exact = Fraction(str(epochs))
        return max(1, sum(exact * len(m) // self.batch_size for m in self._members))

    def locate(self, step: int) -> tuple[int, int]:
        """Return the epoch of a step and the step's number within that epoch."""
        low, high = 0, 1
        while self.steps_before(high) <= step:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.steps_before(middle) <= step else (low, middle)
        return low, step - self.steps_before(low)

    def batch(self, step: int) -> tuple[int, Indices]:
        """Return the epoch of a step and the samples of its global batch, (batch_size,), by
        stream.
        """
        epoch, number = self.locate(step)
        if self._cached_epoch != epoch:
            self._cached_epoch, self._cached = epoch, self._epoch(epoch)
        return epoch, self._cached[number]

    def from_here(self, index: int) -> Iterator[int]:
        """Yield a sample and then the others of its group in order, from the end to the beginning:
        what stands in for it where it cannot be read.
        """
        members = next(m for m in self._members if m[np.searchsorted(m, index) % len(m)] == index)
        start = int(np.searchsorted(members, index))
        yield from (int(i) for i in np.roll(members, -start))

    def _epoch(self, epoch: int) -> Indices:
        """Return all global batches of an epoch in the order of the steps, (steps, batch_size)."""
        batches = [
            self._streams(epoch, number, members).T for number, members in enumerate(self._members)
        ]
        joined = np.concatenate(batches)
        return keyed_rng(self.seed, self.phase, epoch, "steps").permutation(joined, axis=0)

    def _streams(self, epoch: int, number: int, members: Indices) -> Indices:
        """Return the streams of one group, (batch_size, batches of the group in this epoch)."""
        n, size = len(members), self.batch_size
        # What an epoch leaves over counts in the next one: each sample has its turn in the long
        # run, though an epoch is no whole number of batches.
        quota = (epoch + 1) * n // size - epoch * n // size
        rng = keyed_rng(self.seed, self.phase, epoch, "group", number)
        shards = self._shard_idx[members]
        new_place = rng.permutation(int(shards.max()) + 1)[shards]
        row = members[np.lexsort((rng.random(n), new_place))]
        streams = np.resize(row, quota * size).reshape(size, quota)
        for start in range(0, quota, WINDOW_SIZE):
            window = slice(start, start + WINDOW_SIZE)
            streams[:, window] = rng.permuted(streams[:, window], axis=1)
        return streams


def rank_streams(batch_size: int, rank: int, world_size: int) -> slice:
    """Return the canonical streams that a worker owns."""
    return slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)


def num_micro_batches(batch_size: int, world_size: int, micro_batch_size: int | None) -> int:
    """Return how many forward passes a step has on every worker.

    Args:
        batch_size: Samples of the global batch.
        world_size: Number of workers.
        micro_batch_size: Samples per forward pass; None for all of a worker's samples at once.

    Raises:
        SettingsError: There are more workers than samples in a batch.
    """
    least, most = batch_size // world_size, -(-batch_size // world_size)
    if least < 1:
        raise SettingsError(
            f"batch_size is {batch_size}, but there are {world_size} workers: every worker needs a "
            f"sample of each batch; use at most {batch_size} workers or a larger batch_size"
        )
    return min(least, -(-most // (micro_batch_size or most)))
