"""Rows that are computed when they are asked for: batches, memory, devices, lost ones."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from tests.eagleray.stages import Squares, folder_of

from eagleray.options import RunOptions
from eagleray.prepare import ComputedRows, StageRun, computed, rows_at
from eagleray.prepare.answering import EncodedRow, LostDeviceError
from eagleray.prepare.survey import fit_of, list_inputs
from eagleray.prepare.worker import StageJob
from eagleray.task import InputError, Resources, SettingsError, Stage


def rows_of(folder, stage: Stage, *, asked="auto", cache_gb=0.1) -> ComputedRows:
    run = StageRun(stage, folder_of(folder))
    return ComputedRows.open(run, RunOptions(inline=True, device=asked), cache_gb)


class Counting(Squares):
    """Notes every batch, with the thread that processes it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.device = ""

    def setup(self, device, upstream, fitted):
        super().setup(device, upstream, fitted)
        self.device = device

    def process(self, samples):
        self.batches.append(list(samples))
        self.threads.add(threading.current_thread().name)
        return super().process(samples)


def test_what_is_asked_ahead_is_computed_in_the_stages_batches_by_one_thread(tmp_path):
    stage = Counting(64, batch_size=8, loader_threads=4)
    rows = rows_of(tmp_path, stage)
    keys = list(rows.keys())
    rows.ask(keys)
    with ThreadPoolExecutor(8) as readers:
        assert [row["number"] for row in readers.map(rows.__getitem__, keys)] == list(range(64))
    assert sorted(n for batch in stage.batches for n in batch) == list(range(64)), "each one once"
    assert sum(len(batch) == 8 for batch in stage.batches) >= 6 and len(stage.threads) == 1


class SlowToSetUp(Squares):
    """Cannot load before it is set up, which takes longer than asking."""

    def setup(self, device, upstream, fitted):
        time.sleep(0.05)
        super().setup(device, upstream, fitted)

    def load(self, item):
        assert self.is_ready
        return super().load(item)


def test_nothing_is_loaded_before_the_stage_is_set_up(tmp_path):
    rows = rows_of(tmp_path, SlowToSetUp(4, loader_threads=4))
    rows.ask(rows.keys())
    assert [rows[key]["number"] for key in rows.keys()] == [0, 1, 2, 3]  # noqa: SIM118


def test_rows_are_loaded_on_other_machines_too(tmp_path, monkeypatch):
    asked, resources = [], Resources(batch_size=4, loader_threads=1, remote_loads=3)
    stage = Squares(40, bad=[7], resources=resources)

    def elsewhere(item):
        asked.append(item.payload["number"])
        if item.key == "n00011":
            raise ConnectionError("that machine is gone")
        time.sleep(0.001)
        return stage.load(item)

    monkeypatch.setattr(computed, "_elsewhere", lambda how: elsewhere)
    rows = rows_of(tmp_path, stage)
    keys = [key for key in rows.keys() if key != "n00007"]  # noqa: SIM118
    rows.ask(keys)
    assert [rows[key]["number"] for key in keys] == [n for n in range(40) if n != 7]
    assert asked
    with pytest.raises(InputError, match="7 is bad"):
        rows["n00007"]


def test_without_ray_nothing_is_loaded_elsewhere(tmp_path, monkeypatch):
    rows = rows_of(tmp_path, Squares(2, resources=Resources(remote_loads=3)))
    for ray in (None, SimpleNamespace(is_initialized=lambda: False)):
        monkeypatch.setitem(sys.modules, "ray", ray)
        assert computed._elsewhere(rows.how) is None


def test_the_memory_for_rows_is_bounded_by_bytes(tmp_path):
    stage = Counting(40)
    rows = rows_of(tmp_path, stage, cache_gb=5 * 400e-9)
    keys = list(rows.keys())
    size = rows.encoded(keys[0]).num_bytes
    for key in keys:
        assert isinstance(rows.encoded(key), EncodedRow)
    assert 0 < rows._server.cached_bytes <= 5 * 400 < 40 * size
    before = len(stage.batches)
    rows[keys[-1]]
    assert len(stage.batches) == before, "what was read last is there still"
    rows[keys[0]]
    assert len(stage.batches) == before + 1


def test_what_is_asked_ahead_is_kept_until_it_is_read_once(tmp_path):
    stage = Counting(12, batch_size=4)
    rows = rows_of(tmp_path, stage, cache_gb=0.0)
    keys = list(rows.keys())
    rows.ask(keys)
    rows.ask(keys[:3])
    for key in keys:
        rows.answer(key).result()
    assert sum(map(len, stage.batches)) == 12, "each one once, without room for any"
    rows[keys[0]]
    assert sum(map(len, stage.batches)) == 13


class OnGpu(Counting):
    """Asks for a GPU."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, resources=Resources(gpus=1.0), **options)


def test_the_device_is_that_of_the_process_that_reads(tmp_path, monkeypatch):
    stage = OnGpu(4)
    rows = rows_of(tmp_path, stage)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # only where rows are read
    assert rows.how.device == "cuda"
    placed = rows_at({"squares": rows}, torch.device("cuda", 1))["squares"]
    placed["n00001"]
    assert placed._server._stage.device == "cuda:1"
    sent = pickle.loads(pickle.dumps(placed))
    assert sent.how.device == "cuda:1", "loader processes use the GPU of their rank"
    assert rows_of(tmp_path, stage, asked="cpu").at("cuda:1").how.device == "cpu"
    assert rows_of(tmp_path, Counting(4)).at("cuda:1").how.device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="has no GPU"):
        rows_of(tmp_path, stage, asked="cuda")["n00001"]


class Losing(Squares):
    """Loses its device at a number."""

    def process(self, samples):
        if 3 in samples:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return super().process(samples)


def test_a_lost_device_is_an_error_and_rejects_nothing(tmp_path):
    rows = rows_of(tmp_path, Losing(10))
    assert rows["n00002"]["number"] == 2
    for key in ("n00003", "n00004", "n00003"):
        with pytest.raises(LostDeviceError, match="illegal memory access"):
            rows[key]


class NotReady(Squares):
    """Cannot be set up."""

    def setup(self, device, upstream, fitted):
        raise SettingsError("no network")


def test_a_stage_that_cannot_be_set_up_says_so_to_every_reader(tmp_path):
    rows = rows_of(tmp_path, NotReady(10))
    for key in ("n00001", "n00002"):
        with pytest.raises(SettingsError, match="no network"):
            rows[key]


def test_fitting_is_done_where_stages_run(tmp_path):
    from eagleray.prepare.stage_run import ensure_fitted

    seen = []

    class Fitting(Squares):
        fit_items = 4

        def fit(self, samples):
            seen.append(sorted(samples))
            return {"least": min(seen[-1])}

    run = StageRun(Fitting(100), folder_of(tmp_path))
    listing = list_inputs(run, None)
    job = StageJob(run, listing, (), "cpu", fit_of(run, listing))
    options = RunOptions(inline=True)
    assert ensure_fitted(job, options).fitted == {"least": seen[0][0]}
    ensure_fitted(job, options)
    assert len(seen) == 1 and len(seen[0]) == 4
    assert seen[0][-1] - seen[0][0] > 40, "spread over the listing, not its beginning"
