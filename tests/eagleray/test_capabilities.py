"""What a task can do decides which verbs it has; what a run did is told part by part."""

from __future__ import annotations

import pytest
from tests import sixth_task
from tests.eagleray.predict.double_task import DoubleSettings, DoubleTask
from tests.eagleray.tiny_task import TinySettings, TinyTask

import eagleray.api
from eagleray.api import Experiment, Listener
from eagleray.contract.task import offered_verbs, require
from eagleray.experiment import load
from eagleray.task import (
    CapabilityError,
    Evaluation,
    Importing,
    Prediction,
    Querying,
    Training,
    Viewing,
)

SQUARES = sixth_task.SquareTask(sixth_task.SquareSettings(steps=4))
TINY, DOUBLE = TinyTask(TinySettings()), DoubleTask(DoubleSettings())


def test_verbs_follow_from_the_classes_of_a_task():
    assert offered_verbs(SQUARES) == ("prepare", "train", "evaluate", "predict")
    assert offered_verbs(TINY) == ("prepare", "train", "evaluate")
    assert offered_verbs(DOUBLE) == ("prepare", "predict")


@pytest.mark.parametrize(
    ("task", "capability", "verb"),
    [
        (SQUARES, Importing, "import"),
        (SQUARES, Viewing, "view"),
        (SQUARES, Querying, "query"),
        (TINY, Prediction, "predict"),
        (DOUBLE, Training, "train"),
        (DOUBLE, Evaluation, "evaluate"),
    ],
)
def test_a_missing_capability_is_named_with_those_that_are_there(task, capability, verb):
    offered = ", ".join(offered_verbs(task))
    with pytest.raises(
        CapabilityError, match=f"{task.name!r} does not {verb}; it offers {offered}$"
    ):
        require(task, capability)


def test_a_capability_that_is_there_gives_the_task_itself():
    assert require(SQUARES, Prediction) is SQUARES
    assert require(DOUBLE, Prediction) is DOUBLE


def test_a_listener_hears_of_each_part_of_a_run_in_order(tmp_path, monkeypatch):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: sixth_task.SquareTask)
    heard = []

    class Hearing(Listener):
        def prepared(self, prepared):
            heard.append(sum(summary.done for summary in prepared.summaries))

        def trained(self, result):
            heard.append(result.step)

        def evaluated(self, results):
            heard.append(results)

    values = {"task": "squares", "storage": str(tmp_path), "settings": {"steps": 4, "count": 8}}
    results = Experiment.from_values(values, inline=True).run(Hearing())
    assert heard == [16, 4, results]
