"""An evaluation prepares and reads the stages of its benchmark, and no others."""

import shutil

import pytest
from tests.sixth_task import SquareTask

from eagleray import api
from eagleray.api import Experiment
from eagleray.evaluate.driver import choose_benchmarks
from eagleray.experiment import load
from eagleray.prepare import with_upstream
from eagleray.task import InputError, Stage


class Square(SquareTask):
    """The squares; a data set whose training split may be gone."""

    has_training_split = True

    def stages(self):
        stages = super().stages()
        if not self.has_training_split:
            stages[0].items = missing
        return stages


def missing(upstream):
    raise InputError("there is no training split")


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    for module in (load, api):
        monkeypatch.setattr(module, "task_type", lambda name: Square)
    values = {"task": "squares", "storage": str(tmp_path / "storage")}
    return lambda: Experiment.from_values(values, inline=True, limit=8)


def test_a_checkpoint_is_evaluated_where_there_is_no_training_split(experiment, monkeypatch):
    first = experiment()
    first.train()
    (before,) = first.evaluate()
    known = first.run_folder.stages()
    for folder in (api.Store(first.settings.storage).uri + "/prepared",):
        shutil.rmtree(folder)
    monkeypatch.setattr(Square, "has_training_split", False)
    second = experiment()
    labels = [s.label for s in second.prepare_for().summaries]
    assert labels == ["squares:val"]
    (after,) = second.evaluate()
    assert (after.values, after.rows) == (before.values, before.rows)
    assert second.run_folder.stages() == known  # prune must keep what the training used
    with pytest.raises(InputError, match="no training split"):
        second.prepare()


def test_a_source_without_stages_of_its_own_reads_them_all(experiment):
    task = experiment().task
    assert task.stages_of("val") == ["squares:val"]
    assert task.stages_of("test") == ["squares:train", "squares:val"]
    assert choose_benchmarks(task, ())[0].source == "val"


def test_what_is_upstream_comes_along():
    class One(Stage):
        def __init__(self, name, *upstream):
            self.name, self.upstream = name, upstream

        settings = items = load = process = None

    stages = [One("a"), One("b", "a"), One("other"), One("c", "b")]
    assert with_upstream(stages, ["c"]) == {"a", "b", "c"}
