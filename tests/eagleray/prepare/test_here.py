"""Short stages run in this process; what turns out to be long, asks for a GPU, for a number of
workers, or has killed its process goes to Ray.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import pytest
from tests.eagleray import stages
from tests.eagleray.stages import NumbersTask, Squares, Sums, tree

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import here, prepare_stages, stage_run
from eagleray.prepare.here import ShortWork, compute_here
from eagleray.scheduling import LazySession, Machine, Node
from eagleray.storage import Store
from eagleray.task import Resources


class Notes:
    """Progress that keeps what is said."""

    def __init__(self):
        self.lines = []

    def start(self, title, total): ...

    def advance(self, units=1, **info): ...

    def note(self, text):
        self.lines.append(text)

    def finish(self): ...


@pytest.fixture
def on_ray(monkeypatch):
    """The jobs that would go to Ray, computed here instead, the last shards first."""
    jobs_seen = []

    def compute(jobs, options, session):
        jobs_seen.append(jobs)
        for job_idx, job in enumerate(jobs):
            yield from ((job_idx, *outcome) for outcome in list(compute_here(job))[::-1])

    monkeypatch.setattr(stage_run, "_compute_on_ray", compute)
    return jobs_seen


def run(stage, place, **options):
    return stages.run(stage, place, **{"inline": False, **options})


def test_a_short_stage_runs_here_said_in_one_line(tmp_path, on_ray):
    notes = Notes()
    summary, rows = run(Squares(20, bad=[3]), tmp_path / "short", progress=notes)
    assert not on_ray and (summary.done, summary.rejected, len(rows)) == (19, 1, 19)
    (line,) = notes.lines
    assert line.startswith("squares: in this process")
    stages.run(Squares(20, bad=[3]), tmp_path / "inline")
    assert tree(tmp_path / "short") == tree(tmp_path / "inline")


def test_what_turns_out_to_be_long_goes_on_on_ray_with_equal_bytes(tmp_path, on_ray, monkeypatch):
    monkeypatch.setattr(here, "HERE_S", 0.0)
    monkeypatch.setattr(here, "_PROBE_S", 0.0)
    monkeypatch.setattr(stage_run, "may_be_short", lambda jobs: True)
    notes = Notes()
    stage = Squares(60, bad=[7], raising=[8], files=True, seconds=0.001)
    summary, _ = run(stage, tmp_path / "both", items_per_shard=4, progress=notes)
    ((job,),) = on_ray
    assert 0 < len(job.shards) < summary.computed_shards
    assert "the rest would take about" in notes.lines[-1]
    stages.run(
        Squares(60, bad=[7], raising=[8], files=True), tmp_path / "inline", items_per_shard=4
    )
    assert tree(tmp_path / "both") == tree(tmp_path / "inline")


def test_stages_that_read_each_other_run_here_one_after_the_other(tmp_path, on_ray):
    task = NumbersTask((Squares(30), Sums()))
    prepared = prepare_stages(task, Store(str(tmp_path)), PrepareSettings(), RunOptions())
    assert not on_ray and len(prepared.rows["sums"]) == 30


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        (Squares(20), {"workers": 1}),
        (Squares(200, resources=Resources(seconds_per_item=1.0)), {}),
        (Squares(20, resources=Resources(gpus=1.0)), {}),
    ],
    ids=["workers were asked for", "declared to be long", "a stage for a GPU"],
)
def test_other_work_goes_to_ray_at_once(tmp_path, on_ray, monkeypatch, stage, options):
    machine = Machine((Node(4.0, 1.0, 64.0),))
    monkeypatch.setattr(stage_run, "local_machine", lambda: machine)
    run(stage, tmp_path, **options)
    assert sum(len(job.shards) for job in on_ray[0]) == len(list((tmp_path / "markers").iterdir()))


def test_a_cluster_that_is_named_gets_its_work(tmp_path, on_ray, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    run(Squares(4), tmp_path)
    assert on_ray


def test_the_process_after_one_that_died_in_the_stage_works_on_ray(tmp_path, on_ray):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    sign = {"host": socket.gethostname(), "pid": gone.pid, "time_s": time.time(), "here": True}
    (tmp_path / "in_use").mkdir()
    (tmp_path / "in_use" / "x.json").write_text(json.dumps(sign))
    run(Squares(4), tmp_path)
    assert on_ray


def test_a_dead_driver_of_workers_is_no_reason_for_ray(tmp_path, on_ray):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    sign = {"host": socket.gethostname(), "pid": gone.pid, "time_s": time.time(), "here": False}
    (tmp_path / "in_use").mkdir()
    (tmp_path / "in_use" / "x.json").write_text(json.dumps(sign))
    run(Squares(4), tmp_path)
    assert not on_ray


class Watching(Squares):
    """Squares that read the signs in their folder while they are computed."""

    def __init__(self, folder):
        super().__init__(2)
        self.folder, self.signs = folder, []

    def process(self, samples):
        self.signs += [json.loads(p.read_text()) for p in (self.folder / "in_use").iterdir()]
        return super().process(samples)


def test_the_sign_of_life_says_where_the_stage_runs(tmp_path, on_ray):
    stage = Watching(tmp_path)
    run(stage, tmp_path)
    assert stage.signs and all(sign["here"] for sign in stage.signs)
    assert not list((tmp_path / "in_use").iterdir())


class Clock:
    """A clock that stands until it is moved."""

    s = 0.0

    def __call__(self):
        return self.s


def work_of(num_items):
    wall, cpu = Clock(), Clock()
    work = ShortWork(num_items, wall, cpu)

    def shard(num_done, wall_s, cpu_s):
        wall.s, cpu.s = wall.s + wall_s, cpu.s + cpu_s
        work.count(num_done)
        return work.may_go_on()

    return work, shard


def test_the_first_shard_says_nothing_of_the_speed():
    work, shard = work_of(100)
    assert shard(2, 5.0, 5.0), "five seconds of imports"
    assert shard(2, 0.1, 0.1) and work.left_s == pytest.approx(96 * 0.05)


@pytest.mark.parametrize(
    ("wall_s", "cpu_s", "goes_on"),
    [(0.1, 0.1, True), (0.2, 0.2, False), (0.7, 0.1, True), (1.0, 0.1, False), (1.0, 0.0, False)],
    ids=["short", "long", "busy machine", "far too busy", "waits for its storage"],
)
def test_cpu_time_decides_unless_the_wall_runs_far_ahead(wall_s, cpu_s, goes_on):
    _, shard = work_of(110)
    shard(5, 2.0, 1.0)
    assert shard(5, 5 * wall_s, 5 * cpu_s) == goes_on


def test_a_session_that_nobody_needs_starts_no_ray(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    with LazySession():
        pass
