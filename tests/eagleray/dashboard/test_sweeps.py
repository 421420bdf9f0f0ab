"""The pages of sweeps: what they show, filters and order, and that damage breaks nothing."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tests.eagleray.dashboard.visitor import Visitor, components, text, values

from eagleray.analysis.ablation import sweep_table
from eagleray.runs.lease import Lease
from eagleray.storage import Store
from eagleray.sweep.folder import find_sweep

ABLATIONS, SEARCH = "/sweep/exp/heads-1", "/sweep/exp/lr-2"
PAGES = [("/sweeps", ""), (ABLATIONS, ""), (SEARCH, "")]
EVIL = "<script>alert(1)</script>'; DROP TABLE runs; --"


def rows_of(answer, number=-1):
    """Return the cells' text of one of the answer's tables."""
    tables = [c for c in components(answer) if c["type"] == "Table"]
    body = tables[number]["props"]["children"][1]
    rows = [c for c in components(body) if c["type"] == "Tr"]
    return [[text(cell) for cell in c["props"]["children"]] for c in rows]


def trials_shown(answer):
    return [row[0] for row in rows_of(answer)]


def change_trial(storage, sweep, trial, **changes):
    path = storage / "sweeps/exp" / sweep / f"trials/{trial}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_sweeps_are_listed_with_their_best(visitor, storage):
    rows = {row[0]: row for row in rows_of(visitor.open("/sweeps"))}
    best = max(
        (t for t in find_sweep(str(storage), "exp/lr-2").trials() if t.state == "done"),
        key=lambda trial: trial.value,
    )
    assert rows["exp/lr-2"][2:6] == ["search", "val: miou", f"{best.value:.4g}", best.id]
    assert rows["exp/heads-1"][2] == "ablations"
    assert rows["exp/heads-1"][6] == "14 done, 1 failed"


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("?kind=search", ["exp/lr-2"]),
        ("?q=ABLATIONS+miou", ["exp/heads-1"]),
        ("?task=nope", []),
        ("?sort=sweep", ["exp/heads-1", "exp/lr-2"]),
        ("?sort=-sweep", ["exp/lr-2", "exp/heads-1"]),
        ("?sort=trials", ["exp/heads-1", "exp/lr-2"]),
        ("", ["exp/heads-1", "exp/lr-2"]),
        ("?sort=';DROP", ["exp/lr-2", "exp/heads-1"]),
    ],
)
def test_sweeps_can_be_filtered_and_sorted(visitor, storage, search, expected):
    for idx, name in enumerate(("lr-2", "heads-1")):
        for path in (storage / "sweeps/exp" / name).rglob("*.*"):
            os.utime(path, (1e9 + idx, 1e9 + idx))
    assert [row[0] for row in rows_of(visitor.open("/sweeps", search))] == expected


def test_variants_are_shown_as_the_table_says(visitor, storage):
    table = sweep_table(find_sweep(str(storage), "exp/heads-1"))
    shown = rows_of(visitor.open(ABLATIONS), 0)
    assert [row[: len(table.columns)] for row in shown] == [
        [cell.text for cell in row] for row in table.rows
    ]
    assert shown[1][-1] == "settings.head=fpn"


def test_a_difference_is_colored_where_its_interval_leaves_out_zero(visitor):
    table = next(c for c in components(visitor.open(ABLATIONS)) if c["type"] == "Table")
    spans = [c for c in components(table) if c["type"] == "Span"]
    colored = {text(c): c["props"]["className"] for c in spans}
    rows = rows_of(visitor.open(ABLATIONS), 0)
    assert "bad" in colored.values()
    for row in rows:
        if row[4].startswith("["):
            low, high = (float(v) for v in row[4].strip("[]").split(", "))
            expected = "good" if low > 0 else "bad" if high < 0 else None
            assert colored.get(row[3]) == expected, row


def test_trials_come_best_first_with_links_to_their_runs(visitor, storage):
    answer = visitor.open(SEARCH)
    trials = find_sweep(str(storage), "exp/lr-2").trials()
    known = sorted((t for t in trials if t.value is not None), key=lambda t: -t.value)
    assert trials_shown(answer)[: len(known)] == [t.id for t in known]
    assert "/run/exp/main-0" in values(answer, "href")
    assert "OutOfMemoryError" in text(answer)


def test_a_trial_whose_run_is_gone_has_no_link(visitor, storage):
    change_trial(storage, "lr-2", "trial-0000", run="exp/gone")
    change_trial(storage, "lr-2", "trial-0001", run="../../etc")
    answer = visitor.open(SEARCH, "?q=trial-000")
    assert {"trial-0000", "trial-0001"} <= set(trials_shown(answer))
    links = {text(c): c["props"]["href"] for c in components(answer) if c["type"] == "Link"}
    assert "trial-0000" not in links
    assert "trial-0001" not in links
    assert links["trial-0002"] == "/run/exp/main-2"


def test_a_run_names_the_sweeps_it_is_a_trial_of(visitor):
    links = values(visitor.open("/run/exp/main-0"), "href")
    assert {ABLATIONS, SEARCH} <= set(links)
    assert not {ABLATIONS, SEARCH} & set(values(visitor.open("/run/other/main-7"), "href"))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("lr<0.001", lambda t: t.overrides["train.phases.0.lr"] < 0.001),
        ("train.phases.0.batch_size>=9", lambda t: t.overrides["train.phases.0.batch_size"] >= 9),
        ("backbone=resnet50", lambda t: t.overrides["settings.backbone"] == "resnet50"),
        ("state=failed", lambda t: t.state == "failed"),
        ("miou>0.6", lambda t: t.value is not None and t.value > 0.6),
        ("trial-0003", lambda t: t.id == "trial-0003"),
        ("no_such_setting>1", lambda t: False),
    ],
)
def test_trials_can_be_filtered_by_settings_and_values(visitor, storage, condition, holds):
    trials = find_sweep(str(storage), "exp/lr-2").trials()
    shown = visitor.open(SEARCH, f"?q={condition}")
    expected = {t.id for t in trials if holds(t)}
    if expected:
        assert set(trials_shown(shown)) == expected
    assert f"{len(expected)} of 21 trials" in text(shown)


def test_trials_can_be_sorted_by_a_setting(visitor, storage):
    trials = find_sweep(str(storage), "exp/lr-2").trials()
    by_lr = sorted(trials, key=lambda t: t.overrides["train.phases.0.lr"])
    assert trials_shown(visitor.open(SEARCH, "?sort=train.phases.0.lr")) == [t.id for t in by_lr]
    down = trials_shown(visitor.open(SEARCH, "?sort=-train.phases.0.lr"))
    assert down == [t.id for t in by_lr[::-1]]
    assert len(trials_shown(visitor.open(SEARCH, "?sort=nothing"))) == 21


def test_the_scatter_shows_the_chosen_setting(visitor):
    def titles(search):
        return [
            f["layout"]["title"]["text"] for f in values(visitor.open(SEARCH, search), "figure")
        ]

    assert titles("")[-1] == "miou over lr"
    assert titles("?x=device-hours&metric=pq")[-1] == "pq over device-hours"
    assert titles("?x=nope&metric=nope")[-1] == "miou over lr"


def test_every_measured_trial_is_a_line_through_its_settings(visitor, storage):
    trials = find_sweep(str(storage), "exp/lr-2").trials()
    lines = next(
        f for f in values(visitor.open(SEARCH), "figure")
        if "settings and miou" in f["layout"]["title"]["text"]
    )  # fmt: skip
    xs = [x for trace in lines["data"] for x in trace["x"]]
    assert xs.count(None) == sum(t.value is not None for t in trials)
    assert max(x for x in xs if x is not None) == 3, "three settings and the metric"
    best = max((t for t in trials if t.value is not None), key=lambda t: t.value)
    assert best.id in lines["data"][-1]["text"][0], "the best is drawn last"


def test_a_live_trial_shows_how_far_its_run_is(visitor, storage):
    change_trial(storage, "lr-2", "trial-0000", state="running", value=None, steps=0)
    run = Store(str(storage)).child("runs/exp/main-0")
    run.write("summary.json", json.dumps({"task": "seamseg", "state": "training"}).encode())
    line = {"kind": "train", "phase": "main", "step": 33, "total_step": 33, "loss": 0.5}
    run.write("log/live.json", json.dumps(line).encode())
    row = next(r for r in rows_of(visitor.open(SEARCH)) if r[0] == "trial-0000")
    assert row[-1] == "interrupted"
    before = visitor.open(SEARCH)
    with Lease(run):
        row = next(r for r in rows_of(visitor.open(SEARCH)) if r[0] == "trial-0000")
        assert row[-1] == "running"
        assert "33" in row
        assert visitor.follow(SEARCH, is_tick=True, before=before) is not None


@pytest.mark.parametrize(("path", "search"), PAGES)
def test_time_passing_draws_anew_what_changed_alone(visitor, storage, path, search):
    before = visitor.open(path, search)
    assert visitor.follow(path, search, is_tick=True, before=before) is None
    for sweep, trial in (("heads-1", "half_lr-2"), ("lr-2", "trial-0018")):
        change_trial(storage, sweep, trial, state="done", value=0.625, error=None)
    assert visitor.follow(path, search, is_tick=True, before=before) is not None


def test_a_sweep_that_is_deleted_while_shown_says_so(visitor, storage):
    before = visitor.open(SEARCH)
    shutil.rmtree(storage / "sweeps/exp/lr-2")
    answer = visitor.follow(SEARCH, is_tick=True, before=before)
    assert "no sweep 'exp/lr-2' in this store (any more)" in text(answer)


@pytest.mark.parametrize(
    "damage",
    [
        lambda sweep: (sweep / "sweep.json").write_text('{"name": "lr'),
        lambda sweep: (sweep / "sweep.json").write_text("[]"),
        lambda sweep: (sweep / "sweep.json").unlink(),
        lambda sweep: (sweep / "experiment.yaml").write_text("a: ["),
        lambda sweep: (sweep / "experiment.yaml").unlink(),
        lambda sweep: shutil.rmtree(sweep / "trials"),
        lambda sweep: [p.write_bytes(p.read_bytes()[:40]) for p in sweep.rglob("trials/*.json")],
        lambda sweep: (sweep / "trials/trial-0001.json").write_bytes(b"\xff\x00"),
        lambda sweep: (sweep / "trials/x.json").write_text('{"id": "x", "value": NaN}'),
        lambda sweep: (sweep / "trials/..json").write_text("{}"),
        lambda sweep: (sweep / "trials/a\\b.json").write_text("{}"),
        lambda sweep: (sweep / "trials/x.json").mkdir(),
        lambda sweep: (sweep / "trials/x.json").symlink_to("/etc/passwd"),
        lambda sweep: [p.write_text('{"id": "x", "variant": "v"}') for p in sweep.glob("trials/*")],
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["heads-1", "lr-2"])
def test_damage_in_a_sweep_breaks_no_page(visitor, storage, damage, name):
    damage(storage / "sweeps/exp" / name)
    for path, search in PAGES:
        shown = text(visitor.open(path, search))
        assert "could not be made" not in shown, (path, search)
        assert "root:" not in shown
        assert shown


def test_what_is_damaged_is_named_beside_the_rest(visitor, storage):
    (storage / "sweeps/exp/lr-2/trials/trial-0003.json").write_text('{"id": "trial')
    shown = visitor.open(SEARCH)
    assert "trials/trial-0003.json" in text(shown)
    assert "20 trials" in text(shown)
    (storage / "sweeps/exp/heads-1/sweep.json").write_text("{")
    assert "sweep.json" in text(visitor.open("/sweeps"))


def test_markup_and_sql_in_a_sweep_stay_text(visitor, storage):
    (storage / "sweeps/exp" / EVIL.replace("/", "")).mkdir()
    for name in ("heads-1", "lr-2"):
        path = storage / "sweeps/exp" / name / "sweep.json"
        record = json.loads(path.read_text())
        record.update(task=EVIL, metric=EVIL, benchmark=EVIL, scheduler=EVIL, metric_unit=EVIL)
        record["variants"] = {**record["variants"], EVIL: {EVIL: EVIL}}
        record["space"] = {**record["space"], EVIL: EVIL}
        path.write_text(json.dumps(record))
    more = {"variant": EVIL, "overrides": {EVIL: EVIL}, "values": {EVIL: 0.5}, "error": EVIL}
    change_trial(storage, "heads-1", "half_lr-0", **more)
    change_trial(storage, "lr-2", "trial-0000", **more)
    for path, search in PAGES:
        answer = visitor.open(path, search)
        assert "could not be made" not in text(answer)
        for figure in values(answer, "figure"):
            assert "<script" not in json.dumps(figure), "plotly reads tags in text"
    assert EVIL in text(visitor.open("/sweeps"))


@pytest.mark.parametrize(
    "path", ["/sweep/../../etc", "/sweep/exp", "/sweep/exp/%2e%2e", "/sweep/a/b/c"]
)
def test_odd_addresses_of_sweeps_are_answered(visitor, path):
    assert "no sweep" in text(visitor.open(path))


def test_a_store_without_sweeps_says_so(tmp_path):
    visitor = Visitor(tmp_path, tmp_path / "cache")
    assert "There are no sweeps in" in text(visitor.open("/sweeps"))


def test_nothing_is_written_into_the_store(visitor, storage):
    before = {p: p.stat().st_mtime_ns for p in storage.rglob("*")}
    for path, search in PAGES:
        visitor.open(path, search)
    assert {p: p.stat().st_mtime_ns for p in storage.rglob("*")} == before
