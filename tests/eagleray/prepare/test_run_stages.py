"""Several stages on one pool of workers."""

from __future__ import annotations

import pytest
from tests.eagleray.stages import Squares, folder_of, run, tree

from eagleray.options import RunOptions
from eagleray.prepare import StageRun, run_stages
from eagleray.task import EaglerayError, InputError, Resources


def runs(folder, *stages):
    return [StageRun(stage, folder_of(folder / str(number))) for number, stage in enumerate(stages)]


def several():
    return Squares(30, bad=[3]), Squares(30, factor=2), Squares(12, files=True), Squares(0)


def finished(folder, *stages, **options):
    found = run_stages(runs(folder, *stages), RunOptions(**options), title="all", items_per_shard=4)
    return {position: (summary, rows) for position, summary, rows in found}


def alone(folder):
    for number, stage in enumerate(several()):
        run(stage, folder / str(number), items_per_shard=4)


def test_stages_run_together_end_in_the_bytes_of_each_alone(tmp_path):
    found = finished(tmp_path / "a", *several(), inline=True)
    assert sorted(found) == [0, 1, 2, 3]
    assert [found[i][0].rejected for i in range(4)] == [1, 0, 0, 0]
    assert found[1][1]["n00005"]["square"] == 50.0 and len(found[3][1]) == 0
    alone(tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


@pytest.mark.usefixtures("ray_cluster")
def test_workers_change_from_stage_to_stage_and_give_the_same_bytes(tmp_path):
    found = finished(tmp_path / "a", *several(), workers=2)
    assert sorted(found) == [0, 1, 2, 3]
    alone(tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


class NoSetup(Squares):
    """Squares that cannot be set up."""

    def setup(self, device, upstream, fitted):
        raise InputError("no network here")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_stage_that_cannot_be_set_up_leaves_what_was_done_before_it(tmp_path):
    stages = (Squares(8), NoSetup(8))
    with pytest.raises(InputError, match="no network here"):
        finished(tmp_path, *stages, workers=1)
    again = finished(tmp_path, Squares(8), inline=True)
    assert again[0][0].computed_shards == 0


@pytest.mark.usefixtures("ray_cluster")
def test_stages_that_ask_for_different_resources_do_not_share_workers(tmp_path):
    other = Squares(4, resources=Resources(cpus=2.0))
    with pytest.raises(EaglerayError, match="different resources"):
        finished(tmp_path, Squares(4), other, workers=1)
