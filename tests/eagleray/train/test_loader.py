"""Batches on their way to the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.eagleray.tiny_task import TinyData, TinySettings

from eagleray.task import Dataset, InputError, Phase
from eagleray.train.loader import RankShare, data_order, open_loader

MAIN = Phase(name="main", steps=8)


def keys_of_rank(rank: int, world_size: int, micro: int | None) -> list[tuple[str, ...]]:
    data = TinyData(TinySettings(samples=30))
    order = data_order(data, batch_size=6, seed=3, phase="main")
    share = RankShare(6, rank, world_size, micro)
    loader = open_loader(
        data,
        order,
        share,
        phase=MAIN,
        seed=0,
        start_step=2,
        stop_step=7,
        device=torch.device("cpu"),
        workers=0,
        channels_last=False,
    )
    return [tuple(k for _, keys in step for k in keys) for step in loader]


@pytest.mark.parametrize(("world_size", "micro"), [(1, 2), (2, None), (3, 1), (4, 1)])
def test_global_batches_are_the_same_for_any_number_of_workers(
    world_size: int, micro: int | None
) -> None:
    parts = [keys_of_rank(rank, world_size, micro) for rank in range(world_size)]
    joined = [tuple(k for part in step for k in part) for step in zip(*parts, strict=True)]
    assert joined == keys_of_rank(0, 1, None)
    assert len(joined) == 5


class Broken(TinyData):
    """Raises for one sample."""

    def load(self, index: int, rng: np.random.Generator) -> Any:
        if index == 5:
            raise ValueError("sample 5 is broken")
        return super().load(index, rng)


class Asked:
    """Data on the device that only say what they were asked for."""

    def batches(self, phase: Phase, **asked: Any) -> Iterator[Any]:
        while True:
            yield phase.name, phase.batch_size, asked


def test_data_on_the_device_are_told_seed_phase_and_share() -> None:
    phase = MAIN.model_copy(update={"batch_size": 12})
    loader = open_loader(
        Asked(),
        None,
        RankShare(12, 1, 3, None),
        phase=phase,
        seed=7,
        start_step=2,
        stop_step=4,
        device=torch.device("cpu"),
        workers=0,
        channels_last=False,
    )
    ((name, batch_size, asked), keys), *more = next(loader)
    assert (name, batch_size, keys, more) == ("main", 12, (), [])
    assert asked == {
        "seed": 7,
        "start_step": 2,
        "rank": 1,
        "world_size": 3,
        "device": torch.device("cpu"),
    }


def test_error_of_a_sample_reaches_the_training_thread() -> None:
    data: Dataset = Broken(TinySettings(samples=8))
    loader = open_loader(
        data,
        data_order(data, batch_size=2, seed=0, phase="main"),
        RankShare(2, 0, 1, None),
        phase=MAIN,
        seed=0,
        start_step=0,
        stop_step=4,
        device=torch.device("cpu"),
        workers=0,
        channels_last=False,
    )
    with pytest.raises(ValueError, match="sample 5 is broken"):
        list(loader)


class Unreadable(TinyData):
    """Tiny data of which some samples are rejects."""

    def __init__(self, samples: int, bad: frozenset[int]) -> None:
        super().__init__(TinySettings(samples=samples))
        self.bad = bad

    def load(self, index: int, rng: np.random.Generator) -> Any:
        if index in self.bad:
            raise InputError(f"sample {index} is bad")
        return super().load(index, rng)


def sample_keys(data: Dataset, notes: list[str], rank: int = 0, world_size: int = 1) -> list[Any]:
    loader = open_loader(
        data,
        data_order(data, batch_size=4, seed=0, phase="main"),
        RankShare(4, rank, world_size, None),
        phase=MAIN,
        seed=0,
        start_step=0,
        stop_step=6,
        device=torch.device("cpu"),
        workers=0,
        channels_last=False,
        note_reject=lambda key, error: notes.append(f"{key}: {error}"),
    )
    return [keys for micro_batches in loader for _, keys in micro_batches]


def test_the_next_sample_of_the_group_stands_in_for_a_reject() -> None:
    notes: list[str] = []
    whole = sample_keys(TinyData(TinySettings(samples=12)), [])
    found = sample_keys(Unreadable(12, frozenset({4, 6, 11})), notes)
    stand_ins = {"s004": "s008", "s006": "s008", "s011": "s001"}  # groups are even and odd
    assert found == [tuple(stand_ins.get(key, key) for key in keys) for keys in whole]
    assert set(notes) == {
        "s004: sample 4 is bad",
        "s006: sample 6 is bad",
        "s011: sample 11 is bad",
    }


def test_rejects_are_the_same_for_any_number_of_ranks() -> None:
    data = Unreadable(12, frozenset({4, 6, 11}))
    ranks = [sample_keys(data, [], rank, 2) for rank in range(2)]
    joined = [a + b for a, b in zip(*ranks, strict=True)]
    assert joined == sample_keys(data, [])


def test_data_of_which_nothing_can_be_read_end_training() -> None:
    with pytest.raises(InputError, match=r"21 in a row cannot be read.*is bad"):
        sample_keys(Unreadable(80, frozenset(range(80))), [])
    with pytest.raises(InputError, match="4 in a row"):
        sample_keys(Unreadable(8, frozenset(range(0, 8, 2))), [])


def test_sample_randomness_depends_on_epoch_and_sample_only() -> None:
    data = TinyData(TinySettings(samples=4))
    order = data_order(data, batch_size=2, seed=0, phase="main")

    def first_epochs(rank: int, world_size: int) -> dict[tuple[int, str], list[float]]:
        loader = open_loader(
            data,
            order,
            RankShare(2, rank, world_size, None),
            phase=MAIN,
            seed=0,
            start_step=0,
            stop_step=8,
            device=torch.device("cpu"),
            workers=0,
            channels_last=False,
        )
        found = {}
        for step, micro_batches in enumerate(loader):
            for batch, keys in micro_batches:
                for key, x in zip(keys, batch["x"].tolist(), strict=True):
                    found[(order.locate(step)[0], key)] = x
        return found

    alone = first_epochs(0, 1)
    assert first_epochs(0, 2) | first_epochs(1, 2) == alone
    assert alone[(0, "s000")] != alone[(1, "s000")]
