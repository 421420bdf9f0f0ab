"""What is changed from the dashboard, groups of runs, and lists as CSV."""

from __future__ import annotations

import csv
import io
import json
from statistics import fmean, stdev

import pytest
import yaml
from tests.eagleray.dashboard.visitor import components, text, values

EVIL = "<img/src=x/onerror=alert(1)>"


def change(visitor, **asked):
    return visitor.client.post("/change", json=asked)


def names(visitor, search=""):
    answer = visitor.open("/", search)
    return [
        c["props"]["children"]
        for c in components(answer)
        if c["type"] == "Link" and c["props"].get("className") == "name"
    ]


def test_tags_and_notes_are_shown_filtered_and_taken_away(visitor):
    assert change(visitor, runs=["exp/main-1"], add=["good", EVIL], note=EVIL).status_code == 200
    assert names(visitor, "?q=tag=good") == names(visitor, "?q=good") == ["exp/main-1"]
    assert "exp/main-1" not in names(visitor, "?q=tag!=good")
    assert EVIL in text(visitor.open("/run/exp/main-1"))
    change(visitor, runs=["exp/main-1"], remove=["good"])
    assert names(visitor, "?q=tag=good") == []


def test_archived_runs_are_left_out_unless_asked_for(visitor):
    change(visitor, runs=["exp/main-1", "exp/main-2"], archived=True)
    assert set(names(visitor)) == {"exp/main-0", "other/main-7"}
    assert "2 of 4 runs (2 archived)" in text(visitor.open("/"))
    assert set(names(visitor, "?show=archived")) == {"exp/main-1", "exp/main-2"}
    assert len(names(visitor, "?show=all")) == 4


def test_deleted_runs_are_gone_from_the_list_and_in_the_trash(visitor, storage):
    change(visitor, runs=["exp/main-1"], delete=True)
    assert "exp/main-1" not in names(visitor)
    assert (storage / "trash/exp/main-1/experiment.yaml").is_file()


@pytest.mark.parametrize(
    "asked",
    [
        {"runs": ["../x"], "delete": True},
        {"runs": ["exp/none"], "delete": True},
        {"runs": [], "add": ["a"]},
        {"runs": ["exp/main-0"], "add": ["two words"]},
        {"view": "", "address": "/"},
        {"view": "x", "address": "https://example.org/"},
        {"view": "x", "address": "//example.org/"},
    ],
)
def test_changes_that_cannot_be_made_say_why(visitor, storage, asked):
    before = sorted(storage.rglob("*"))
    answer = change(visitor, **asked)
    assert answer.status_code == 400 and answer.text.strip()
    assert sorted(storage.rglob("*")) == before


def test_only_the_own_page_may_change_anything(visitor, storage):
    body = json.dumps({"runs": ["exp/main-0"], "delete": True})
    plain = visitor.client.post("/change", data=body, content_type="text/plain")
    assert plain.status_code == 415
    headers = {"Origin": "https://example.org"}
    foreign = visitor.client.post("/change", json=json.loads(body), headers=headers)
    assert foreign.status_code == 403
    assert (storage / "runs/exp/main-0").is_dir()


def test_views_are_kept_by_name_and_forgotten(visitor):
    change(visitor, view=EVIL, address="/?q=seed=1&sort=-best")
    answer = visitor.open("/")
    assert EVIL in text(answer) and "/?q=seed=1&sort=-best" in values(answer, "href")
    change(visitor, view=EVIL, address="")
    assert EVIL not in text(visitor.open("/"))


def rows_of(visitor, search):
    answer = visitor.client.get(f"/runs.csv?{search}")
    assert answer.mimetype == "text/csv"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_runs_group_over_their_seeds_with_mean_and_deviation(visitor, storage):
    for number in range(3):
        path = storage / f"runs/exp/main-{number}/experiment.yaml"
        lr = 0.5 if number == 2 else 0.1
        values = yaml.safe_load(path.read_text())
        values["train"]["phases"][0]["lr"] = lr
        path.write_text(yaml.safe_dump(values))
    rows = rows_of(visitor, "group=seeds&q=exp/&sort=runs")
    single, pair = rows
    assert (single["group"], pair["group"]) == ("lr=0.5", "lr=0.1")
    found = [
        json.loads((storage / f"runs/exp/main-{n}/summary.json").read_text())["results"]["val/best"]
        for n in range(2)
    ]
    expected = [one["values"]["miou"] for one in found]
    assert (pair["runs"], pair["seeds"]) == ("2", "2")
    assert float(pair["mean"]) == pytest.approx(fmean(expected))
    assert float(pair["±"]) == pytest.approx(stdev(expected))
    assert single["±"] == ""
    assert "lr=0.1" in text(visitor.open("/", "?group=seeds"))


def test_runs_group_by_any_setting(visitor):
    rows = rows_of(visitor, "group=seed&sort=group")
    assert [row["group"] for row in rows] == ["seed=0", "seed=1", "seed=2", "seed=7"]


def test_a_list_as_csv_has_all_rows_every_digit_and_no_formulas(visitor, storage, monkeypatch):
    monkeypatch.setattr("eagleray.dashboard.pages.runs.ROWS_PER_PAGE", 1)
    change(visitor, runs=["exp/main-0"], note="=1+1")
    rows = rows_of(visitor, "q=exp/&sort=run&col=seed&col=backbone")
    assert [row["run"] for row in rows] == ["exp/main-0", "exp/main-1", "exp/main-2"]
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["backbone"] == "resnet50" and rows[0]["note"] == "'=1+1"
    summary = json.loads((storage / "runs/exp/main-0/summary.json").read_text())
    assert float(rows[0]["best"]) == summary["results"]["val/best"]["values"]["miou"]
