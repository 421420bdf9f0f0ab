"""Micro-batches of one rank, read ahead, with the time that training waited for them."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from eagleray.devices import to_device
from eagleray.prepare.streamed import ask_rows, source_of
from eagleray.task import Batches, Dataset, InputError, Phase, Rows
from eagleray.train.order import DataOrder, keyed_rng, num_micro_batches, rank_streams
from eagleray.train.read_ahead import ReadAhead, micro_batch, open_read_ahead, samples_of

MicroBatch = tuple[Any, tuple[str, ...]]
"""A collated batch and the keys of its samples."""

NoteReject = Callable[[str, InputError], None]
"""Told the key of a sample that cannot be read, and why; picklable."""

_log = logging.getLogger(__name__)

_READ_AHEAD = 2
_STAND_INS = 20
"""Samples in a row that cannot be read, after which the data themselves must be wrong."""


@dataclass(frozen=True)
class RankShare:
    """Which part of every global batch this rank works on, and in how many pieces.

    Args:
        batch_size: Samples of a global batch.
        rank: This process.
        world_size: Number of processes.
        micro_batch_size: Samples per forward pass, None for all at once.
    """

    batch_size: int
    rank: int
    world_size: int
    micro_batch_size: int | None

    @property
    def num_micro_batches(self) -> int:
        """Forward passes per step, alike on all ranks."""
        return num_micro_batches(self.batch_size, self.world_size, self.micro_batch_size)

    @property
    def streams(self) -> slice:
        """Canonical streams of this rank."""
        return rank_streams(self.batch_size, self.rank, self.world_size)


def log_reject(key: str, error: InputError) -> None:
    """Say that a sample cannot be read, and nothing else."""
    _log.warning("training leaves out %s: %s", key, error)


class MicroBatches(TorchDataset[MicroBatch]):
    """All micro-batches of a phase of one rank by running number (step * micro-batches per step +
    place).

    Args:
        dataset: The task's training data.
        order: Their order.
        share: This rank's part.
        note_reject: Told about samples that cannot be read; the next one of the same group stands
            in for each, whatever the number of ranks.
        rows: Rows of the prepared stages by label.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: DataOrder,
        share: RankShare,
        note_reject: NoteReject,
        rows: Mapping[str, Rows] = MappingProxyType({}),
    ) -> None:
        self._dataset, self._order, self._share = dataset, order, share
        self._note_reject, self._rows = note_reject, dict(rows)

    def __getitem__(self, number: int) -> MicroBatch:
        """Read and collate one micro-batch."""
        share = self._share
        epoch, own = micro_batch(self._order, share.streams, share.num_micro_batches, number)
        ask_rows(self._rows, self._dataset, map(int, own))  # so that they are computed together
        found = [self._load(int(i), epoch) for i in own]
        keys = tuple(key for key, _ in found)
        return self._dataset.collate([sample for _, sample in found]), keys

    def _load(self, index: int, epoch: int) -> tuple[str, Any]:
        for count, candidate in enumerate(self._order.from_here(index)):
            key = self._dataset.key(candidate)
            rng = keyed_rng(self._order.seed, self._order.phase, epoch, key)
            try:
                return key, self._dataset.load(candidate, rng)
            except InputError as error:
                self._note_reject(key, error)
                failure = error
            except Exception as error:
                error.add_note(f"while sample {key!r} was loaded")
                raise
            if count == _STAND_INS:
                break
        raise InputError(
            f"no sample stands in for {self._dataset.key(index)!r}: {count + 1} in a row cannot be "
            f"read, the last because of: {failure}"
        )


def data_order(dataset: Dataset, *, batch_size: int, seed: int, phase: str) -> DataOrder:
    """Return the order of a dataset's samples in a phase."""
    n = len(dataset)
    groups = np.fromiter(_groups(dataset), np.int64, n)
    shards = np.fromiter((dataset.shard_idx(i) for i in range(n)), np.int64, n)
    return DataOrder(groups, shards, batch_size=batch_size, seed=seed, phase=phase)


def _groups(dataset: Dataset) -> Iterator[int]:
    """Yield each sample's group; one that cannot be read counts to the group before it."""
    group = 0
    for index in range(len(dataset)):
        with contextlib.suppress(InputError):  # it is noted as a reject when its turn comes
            group = dataset.group(index)
        yield group


class StepLoader:
    """Iterates over steps: each gives the list of the rank's micro-batches on the device.

    Args:
        source: Iterator over micro-batches in the order of the steps.
        per_step: Micro-batches per step.
        device: Where the batches go.
        channels_last: Give 4-D floating tensors that memory format.
        first: Number of the first micro-batch.
        read_ahead: Asks for rows that are streamed.
    """

    def __init__(
        self,
        source: Iterator[MicroBatch],
        per_step: int,
        device: torch.device,
        *,
        channels_last: bool = False,
        first: int = 0,
        read_ahead: ReadAhead | None = None,
    ) -> None:
        self._source, self._per_step = source, per_step
        self._number, self._read_ahead = first, read_ahead
        self._device, self._channels_last = device, channels_last
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        return self

    def __next__(self) -> list[MicroBatch]:
        """Return the next step's micro-batches; the time until they are there counts as waiting."""
        begin = time.perf_counter()
        if self._read_ahead is not None:
            self._read_ahead.advance(self._number)
        self._number += self._per_step
        found = [next(self._source) for _ in range(self._per_step)]
        moved = [(to_device(b, self._device, self._channels_last), keys) for b, keys in found]
        self.waited_s += time.perf_counter() - begin
        return moved

    def close(self) -> None:
        """Stop reading ahead."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


def open_loader(
    data: Dataset | Batches,
    order: DataOrder | None,
    share: RankShare,
    *,
    phase: Phase,
    seed: int,
    start_step: int,
    stop_step: int,
    device: torch.device,
    workers: int,
    channels_last: bool,
    note_reject: NoteReject = log_reject,
    rows: Mapping[str, Rows] = MappingProxyType({}),
    ahead: int = 1,
) -> StepLoader:
    """Open the data of one rank at a step.

    Args:
        data: The task's training data.
        order: Order of a map-style dataset; None for data on the device.
        share: This rank's part of every batch.
        phase: The phase.
        seed: Of the run; a map-style dataset has it in its order.
        start_step: First step.
        stop_step: One after the last step.
        device: Where batches go.
        workers: Reading processes; 0 reads in a thread.
        channels_last: Give 4-D floating tensors that memory format.
        note_reject: Told about samples that cannot be read.
        rows: Rows of the prepared stages by label.
        ahead: Samples whose rows are asked for before they are read, where rows are streamed.
    """
    if not isinstance(data, Dataset):
        batches = data.batches(
            phase,
            seed=seed,
            start_step=start_step,
            rank=share.rank,
            world_size=share.world_size,
            device=device,
        )
        return StepLoader(((b, ()) for b in batches), 1, device, channels_last=channels_last)
    if order is None:
        raise ValueError("a map-style dataset needs an order")
    micro = MicroBatches(data, order, share, note_reject, rows)
    per_step = share.num_micro_batches
    numbers = range(start_step * per_step, stop_step * per_step)
    wanted = samples_of(order, share.streams, per_step, numbers)
    read_ahead = open_read_ahead(data, rows, wanted, ahead)
    if read_ahead is not None:
        read_ahead.advance(numbers.start)
    given = source_of(rows)
    if workers and given is not None:
        given.serve()  # loader processes read through this one
    source: Iterator[MicroBatch]
    if workers == 0:
        source = _read_in_thread(micro, numbers)
    else:
        source = iter(
            DataLoader(
                micro,
                batch_size=None,
                sampler=numbers,
                num_workers=workers,
                multiprocessing_context="forkserver",
                pin_memory=device.type == "cuda",
            )
        )
    return StepLoader(
        source,
        per_step,
        device,
        channels_last=channels_last,
        first=numbers.start,
        read_ahead=read_ahead,
    )


def _read_in_thread(micro: MicroBatches, numbers: range) -> Iterator[MicroBatch]:
    ready: queue.Queue[MicroBatch | BaseException | None] = queue.Queue(_READ_AHEAD)
    stopped = threading.Event()

    def put(value: MicroBatch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(value, timeout=0.1)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for number in numbers:
                if stopped.is_set():
                    return
                put(micro[number])
            put(None)
        except BaseException as error:  # handed to the training thread, which raises it
            put(error)

    thread = threading.Thread(target=read, name="eagleray-loader", daemon=True)
    thread.start()
    try:
        while True:
            value = ready.get()
            if value is None:
                return
            if isinstance(value, BaseException):
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
