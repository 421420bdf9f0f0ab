"""What ranks agree on at a step's border: to stop, or that a machine is about to go."""

from __future__ import annotations

import pytest
import torch

from eagleray.storage import Store
from eagleray.train import stop
from eagleray.train.stop import StopFlag, request_stop


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stop.time, "monotonic", lambda: now[0])
    return now


def test_a_machine_that_goes_asks_for_one_checkpoint(tmp_path, clock):
    leaving: set[str] = set()
    asked = []

    def notice():
        asked.append(clock[0])
        return leaving

    run = Store(str(tmp_path))
    with StopFlag(run, 0, torch.device("cpu"), notice) as flag:
        saves = []
        for _ in range(12):
            assert not flag.agreed()
            saves.append(flag.must_save)
            clock[0] += 2.0
            if clock[0] == 108.0:
                leaving.add("node-a")
            if clock[0] == 116.0:
                leaving.add("node-b")
        assert asked == [100.0, 106.0, 112.0, 118.0], "it is a collective: not at every step"
        assert [100 + 2 * i for i, save in enumerate(saves) if save] == [112, 118]
        request_stop(run)
        clock[0] += 10.0
        assert flag.agreed() and not flag.must_save


def test_other_ranks_never_ask_by_themselves(tmp_path, clock):
    with StopFlag(Store(str(tmp_path)), 1, torch.device("cpu"), lambda: ["node-a"]) as flag:
        assert not flag.agreed() and not flag.must_save


def test_ranks_ask_when_rank_0_does(tmp_path, clock, monkeypatch):
    asked = []
    flag = StopFlag(Store(str(tmp_path)), 1, torch.device("cpu"), lambda: asked.append(1) or ["a"])
    monkeypatch.setattr(flag, "_spread", lambda wish: max(wish, 1))
    assert not flag.agreed() and flag.must_save and asked == [1]
