"""A run that the engine really made, on every page and in the report."""

from __future__ import annotations

import pytest
from tests import sixth_task
from tests.eagleray.dashboard.visitor import Visitor, numbers, text, values

import eagleray.api
from eagleray.api import Experiment
from eagleray.experiment import load
from eagleray.report import report_html


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "store"
    with pytest.MonkeyPatch.context() as patch:
        for module in (load, eagleray.api):
            patch.setattr(module, "task_type", lambda name: sixth_task.SquareTask)
        settings = {"steps": 20, "count": 12, "broken": (3,)}
        given = {"task": "squares", "name": "six", "storage": str(folder), "settings": settings}
        Experiment.from_values({**given, "train": {"log_every": 2}}, inline=True).run()
    return folder


@pytest.fixture
def visitor(storage, tmp_path):
    return Visitor(storage, tmp_path / "cache")


@pytest.fixture
def name(storage):
    (run,) = (storage / "runs/six").iterdir()
    return f"six/{run.name}"


def test_it_is_listed_with_its_result(visitor, name):
    shown = text(visitor.open("/"))
    assert f"{name} squares evaluated 20 val: accuracy" in shown
    assert "0.5" in shown, "the published number"


def test_its_curves_have_a_point_per_logged_step(visitor, name):
    answer = visitor.open(f"/run/{name}", "?find=train/loss&smooth=0")
    figure = values(answer, "figure")[0]
    assert figure["layout"]["title"]["text"] == "train/loss over step"
    assert numbers(figure["data"][0]["x"]) == list(range(2, 21, 2))


def test_its_rejects_name_the_stage_and_the_input(visitor, name):
    shown = text(visitor.open(f"/run/{name}", "?tab=rejects"))
    assert "prepare squares:train train-0003" in shown
    assert "square is broken" in shown


def test_its_units_are_ranked_by_the_metric_of_each(visitor, name):
    answer = visitor.open("/gallery", f"?run={name}")
    cards = text(answer).split("val-")[1:]
    accuracies = [float(card.split("accuracy ")[1].split()[0].rstrip(",")) for card in cards]
    assert len(accuracies) == 11
    assert accuracies == sorted(accuracies)
    for address in values(answer, "src"):
        assert visitor.client.get(address).mimetype == "image/jpeg"


def test_its_report_holds_curves_result_pictures_and_rejects(storage, name):
    report = report_html(str(storage), [name])
    for expected in ("loss over step", "accuracy", "a coin", "train-0003", "val-0000"):
        assert expected in report
    assert report.count('alt="input of val-') == 11
