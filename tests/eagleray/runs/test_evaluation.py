"""Reading evaluations with their rows and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from experiments.benchmarks.fake_store import FakeRun, write_run

from eagleray.runs.evaluation import read_evaluations, read_units
from eagleray.runs.rejects import read_rejects, record_rejects
from eagleray.task import InputError


@pytest.fixture
def run(tmp_path):
    return write_run(str(tmp_path), FakeRun("exp", "main-1", points=5, pictures=9), side_px=16)


def only_evaluation(run):
    (evaluation,) = read_evaluations(run)
    return evaluation


def test_an_evaluation_has_its_units_numbers_and_pictures(run):
    evaluation = only_evaluation(run)
    assert (evaluation.benchmark, evaluation.checkpoint, evaluation.problem) == ("val", "best", "")
    units = read_units(run, evaluation)
    assert [u.key for u in units.units] == ["scene-0000", "scene-0001", "scene-0002"]
    assert units.metrics() == ["miou", "pixels"], "lists are no numbers"
    assert units.problems == []
    for unit in units.units:
        assert set(unit.pictures) == {"input", "truth", "prediction"}
        assert run.read(unit.pictures["input"].path).startswith(b"\x89PNG")


def test_rejects_of_evaluations_are_named(run):
    rejects = read_rejects(run, read_evaluations(run))
    assert [(r.where, r.key) for r in rejects] == [("evaluate val (best)", "scene-broken")]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"values": {"a": "x"}}', b"\xff"])
def test_a_damaged_result_is_shown_as_damaged(run, content):
    run.write("evaluation/val/best.json", content)
    evaluation = only_evaluation(run)
    assert "val/best.json is damaged" in evaluation.problem
    assert evaluation.folder == ""


def test_a_result_cannot_name_rows_elsewhere(run):
    result = json.loads(run.read("evaluation/val/best.json"))
    run.write("evaluation/val/best.json", json.dumps({**result, "rows": "../../other"}).encode())
    with pytest.raises(InputError, match="no rows"):
        read_units(run, only_evaluation(run))


def test_damaged_rows_leave_the_pictures_and_name_the_damage(run):
    folder = only_evaluation(run).folder
    (data,) = run.files(f"{folder}/shards")
    run.write(data, b"not parquet")
    units = read_units(run, only_evaluation(run))
    assert len(units.units) == 3
    assert all(unit.pictures and not unit.values for unit in units.units)
    assert "rows of shard 0 cannot be read" in units.problems[0]


def test_a_damaged_marker_is_named(run):
    folder = only_evaluation(run).folder
    run.write(f"{folder}/markers/0.json", b'{"shard": "0"')
    units = read_units(run, only_evaluation(run))
    assert units.units == []
    assert "marker of shard 0 is damaged" in units.problems[0]


def test_an_unfinished_evaluation_shows_what_is_there(run):
    folder = only_evaluation(run).folder
    Path(run.path(f"{folder}/current.json")).unlink()
    units = read_units(run, only_evaluation(run))
    assert len(units.units) == 3
    assert "not finished" in units.problems[0]


def test_metrics_of_single_units_are_numbers_of_the_units(run):
    found = json.dumps({"scene-0001": {"pq": 0.25, "miou": 0.5}, "gone": {"pq": 1.0}})
    run.write("evaluation/val/units/best.json", found.encode())
    (evaluation,) = read_evaluations(run)
    units = {u.key: u.values for u in read_units(run, evaluation).units}
    assert units["scene-0001"] == {"miou": 0.5, "pixels": 512.0, "pq": 0.25}
    assert "pq" not in units["scene-0000"]
    assert set(units) == {"scene-0000", "scene-0001", "scene-0002"}


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"a": {"b": "x"}}'])
def test_damaged_metrics_of_single_units_are_named(run, content):
    run.write("evaluation/val/units/best.json", content)
    units = read_units(run, only_evaluation(run))
    assert len(units.units) == 3
    assert "units/best.json is damaged" in units.problems[0]


def test_rejects_of_prepared_stages_are_named_and_limited(run):
    record_rejects(run, {"draw:train": [(str(i), "InputError: broken") for i in range(2000)]})
    rejects = read_rejects(run, read_evaluations(run))
    assert len(rejects) == 1000
    assert (rejects[0].where, rejects[0].key) == ("prepare draw:train", "0")


@pytest.mark.parametrize("content", [b"{", b"3", b'{"a": [["x"]]}'])
def test_damaged_rejects_are_named(run, content):
    run.write("rejects.json", content)
    assert "rejects.json is damaged" in read_rejects(run, [])[0].error
