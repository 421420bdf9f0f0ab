"""Asking for streamed rows ahead: in the order of training, so many samples, and no more."""

from __future__ import annotations

import numpy as np
import torch

from eagleray.prepare.streamed import StreamedRows
from eagleray.task import Dataset, Phase
from eagleray.train.loader import RankShare, data_order, open_loader


class Numbers(Dataset):
    """Its samples read one row each."""

    def __init__(self, log):
        self._log = log

    def __len__(self):
        return 24

    def key(self, index):
        return f"k{index:02d}"

    def reads(self, index):
        return [("rows", self.key(index))]

    def load(self, index, rng):
        self._log.append(("load", self.key(index)))
        return index

    def collate(self, samples):
        return torch.tensor(samples)


class Asked(StreamedRows):
    """Rows of a source that notes what it is asked for."""

    def __init__(self, log):
        self._log, self._source = log, self
        self.waiting, self.most = set(), 0

    def __contains__(self, key):
        return True

    def at(self, place):
        return self

    def ask(self, *arguments):
        for key in arguments[-1]:
            if key not in self.waiting:
                self._log.append(("ask", key))
            self.waiting.add(key)
            self.most = max(self.most, len(self.waiting))

    def forget(self, label, keys):
        self.waiting.difference_update(keys)


def steps(start, *, ahead, rank=0, world_size=1):
    log = []
    data, rows = Numbers(log), Asked(log)
    order = data_order(data, batch_size=4, seed=0, phase="main")
    loader = open_loader(
        data,
        order,
        RankShare(4, rank, world_size, 2),
        phase=Phase(steps=6, batch_size=4, lr=0.1),
        seed=0,
        start_step=start,
        stop_step=6,
        device=torch.device("cpu"),
        workers=0,
        channels_last=False,
        rows={"rows": rows},
        ahead=ahead,
    )
    found = [torch.cat([batch for batch, _ in step]).tolist() for step in loader]
    loader.close()
    return found, log, rows


def test_rows_are_asked_for_in_the_order_of_training_and_before_they_are_read():
    found, log, rows = steps(0, ahead=8)
    asked = [key for what, key in log if what == "ask"]
    assert asked == [f"k{index:02d}" for step in found for index in step]
    for key in asked:
        assert log.index(("ask", key)) < log.index(("load", key))
    assert 8 <= rows.most <= 8 + 4, "ahead samples, and what the loader reads by itself"


def test_a_resumed_rank_asks_for_what_is_left_of_its_own():
    whole, _, _ = steps(0, ahead=6)
    halves = [steps(3, ahead=6, rank=rank, world_size=2) for rank in range(2)]
    for step in range(3):
        assert np.concatenate([found[step] for found, _, _ in halves]).tolist() == whole[3 + step]
    for found, log, _ in halves:
        asked = [key for what, key in log if what == "ask"]
        assert asked == [f"k{index:02d}" for step in found for index in step]
