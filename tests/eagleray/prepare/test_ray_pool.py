"""The same work on Ray's workers: equal bytes, one reject per bad item, and workers that die."""

from __future__ import annotations

import os

import pytest
from tests.eagleray import stages
from tests.eagleray.stages import NumbersTask, Squares, Sums, tree

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.prepare.ray_pool import WorkerError
from eagleray.scheduling import SchedulingError
from eagleray.storage import Store
from eagleray.task import EaglerayError, InputError, Resources

pytestmark = pytest.mark.usefixtures("ray_cluster")


def run(stage, folder, **options):
    return stages.run(stage, folder, **{"inline": False, **options})


class Counting:
    """Progress that keeps what it is told."""

    def __init__(self):
        self.total = self.units = 0
        self.info = {}

    def start(self, title, total):
        self.total = total

    def advance(self, units=1, **info):
        self.units += units
        self.info.update(info)

    def note(self, text): ...

    def finish(self): ...


def test_workers_give_the_same_bytes_as_this_process(tmp_path):
    resources = Resources(batch_size=3, loader_threads=2, gpus=1.0)  # left out where there are none
    both = (Squares(60, bad=[7], raising=[8], files=True, resources=resources), Sums())
    progress = Counting()
    for name, inline in (("ray", False), ("inline", True)):
        prepared = prepare_stages(
            NumbersTask(both),
            Store(str(tmp_path / name)),
            PrepareSettings(workers=2),
            RunOptions(inline=inline, progress=progress),
        )
        assert prepared.rejected == 2 and len(prepared.rows["sums"]) == 58
    assert tree(tmp_path / "ray") == tree(tmp_path / "inline")
    assert progress.units == 2 * (60 + 58)


def test_an_item_that_kills_its_worker_three_times_is_a_reject(tmp_path):
    summary, rows = run(Squares(24, deadly=[5]), tmp_path, workers=2, items_per_shard=8)
    assert dict(summary.rejects) == {
        "n00005": "WorkerDied: the worker process died three times at this item"
    }
    assert summary.done == 23 and len(rows) == 23


class OnceDeadly(Squares):
    """Squares that kill the first worker that reaches number 9."""

    def process(self, samples):
        mark = self.touched / "died"
        if 9 in samples and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        return super().process(samples)


@pytest.mark.slow
def test_a_worker_that_dies_once_changes_nothing(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    run(OnceDeadly(30, touched=marks, batch_size=4), tmp_path / "a", workers=2)
    assert (marks / "died").exists()
    run(Squares(30, batch_size=4), tmp_path / "b", inline=True)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


class NoSetup(Squares):
    """Squares that cannot be set up."""

    def setup(self, device, upstream, fitted):
        raise InputError("no network here")


class Faulty(Squares):
    """Squares with a bug in their setup."""

    def setup(self, device, upstream, fitted):
        raise ZeroDivisionError("a bug of the stage")


def test_a_bug_in_setup_comes_with_the_workers_traceback(tmp_path):
    with pytest.raises(WorkerError, match=r"(?s)in setup.*ZeroDivisionError: a bug"):
        run(Faulty(4), tmp_path, workers=1)


class DeadlySetup(Squares):
    """Squares that die when they are set up."""

    def setup(self, device, upstream, fitted):
        os.kill(os.getpid(), 9)


def test_an_error_in_setup_is_raised_as_it_is(tmp_path):
    with pytest.raises(InputError, match="no network here"):
        run(NoSetup(4), tmp_path, workers=1)


@pytest.mark.slow
def test_workers_that_always_die_in_setup_end_the_job(tmp_path):
    with pytest.raises(EaglerayError, match="setup"):
        run(DeadlySetup(4), tmp_path, workers=1)


def test_more_workers_than_ever_fit_are_refused(tmp_path):
    with pytest.raises(SchedulingError, match="400 worker"):
        run(Squares(4), tmp_path, workers=400)


def test_a_device_that_is_not_there_is_refused(tmp_path, ray_cluster):
    if ray_cluster.cluster_resources().get("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(SchedulingError, match="no GPU"):
        run(Squares(4, resources=Resources(gpus=1.0)), tmp_path, device="cuda")
