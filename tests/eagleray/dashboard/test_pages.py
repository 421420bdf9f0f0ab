"""What pages show, and that nothing in a store breaks them."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.eagleray.dashboard.visitor import Visitor, components, numbers, text, values

from eagleray.runs.evaluation import read_evaluations, read_units
from eagleray.runs.lease import Lease
from eagleray.runs.run_folder import find_run
from eagleray.storage import Store

RUN = "/run/exp/main-0"
EVERY_PAGE = [
    ("/", ""),
    *(
        (RUN, f"?tab={tab}")
        for tab in ("curves", "results", "settings", "environment", "rejects", "log")
    ),
    ("/compare", "?run=exp/main-0&run=other/main-7"),
    ("/sweeps", ""),
    ("/sweep/exp/heads-1", ""),
    ("/sweep/exp/lr-2", "?x=settings.backbone"),
    ("/benchmarks", ""),
    ("/gallery", "?run=exp/main-0"),
    ("/gallery", "?run=exp/main-0&unit=scene-0000"),
]
EVIL = "<script>alert(1)</script>'; DROP TABLE runs; --"


def result_of(storage, run="exp/main-0"):
    return json.loads((storage / "runs" / run / "evaluation/val/best.json").read_text())


def run_order(answer):
    picks = [
        c
        for c in components(answer)
        if isinstance(c["props"].get("id"), dict) and "pick" in c["props"]["id"]
    ]
    return [c["props"]["id"]["pick"] for c in picks]


def test_runs_are_listed_with_ours_and_the_papers_numbers(visitor, storage):
    shown = text(visitor.open("/"))
    ours = result_of(storage)["values"]["miou"]
    assert "4 runs" in shown
    assert (
        f"exp/main-0 seamseg evaluated 40 val: miou {ours:.4g} 0.775 {ours - 0.775:+.4g}" in shown
    )
    assert "failed CUDA out of memory" in shown


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("?q=other", {"other/main-7"}),
        ("?q=SEAMSEG+main-1", {"exp/main-1"}),
        ("?task=ops", {"other/main-7"}),
        ("?state=failed", {"other/main-7"}),
        ("?q=step<40", {"other/main-7"}),
        ("?q=step>=40+main-2", {"exp/main-2"}),
        ("?q=miou>2", set()),
        ("?q=seed=1", {"exp/main-1"}),
        ("?q=seed>1+backbone=resnet50", {"exp/main-2", "other/main-7"}),
        ("?q=no_such_number>0", set()),
    ],
)
def test_runs_can_be_filtered(visitor, search, expected):
    assert set(run_order(visitor.open("/", search))) == expected


def test_runs_can_be_sorted_by_every_column(visitor, storage):
    names = ["exp/main-0", "exp/main-1", "exp/main-2", "other/main-7"]
    best = {name: result_of(storage, name)["values"]["miou"] for name in names}
    assert run_order(visitor.open("/", "?sort=-best")) == sorted(names, key=best.get, reverse=True)
    assert run_order(visitor.open("/", "?sort=best")) == sorted(names, key=best.get)
    assert run_order(visitor.open("/", "?sort=run")) == names
    assert run_order(visitor.open("/", "?sort=step"))[0] == "other/main-7"
    assert len(run_order(visitor.open("/", "?sort=-last"))) == 4, "a column without values"
    assert len(run_order(visitor.open("/", "?sort=';DROP"))) == 4


def test_long_lists_have_pages(visitor, monkeypatch):
    monkeypatch.setattr("eagleray.dashboard.pages.runs.ROWS_PER_PAGE", 3)
    assert len(run_order(visitor.open("/", "?sort=run"))) == 3
    assert run_order(visitor.open("/", "?sort=run&page=2")) == ["other/main-7"]
    assert run_order(visitor.open("/", "?sort=run&page=99")) == ["other/main-7"]


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("?q=miou>abc", "miou>abc: 'abc' is no number"),
        ("?q=mioux>0", "did you mean 'miou'?"),
        ("?q=/ma(in/", "no regular expression"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_told(visitor, search, told):
    answer = visitor.open("/", search)
    assert run_order(answer) == []
    assert told in text(answer)


def test_the_gallery_tells_what_a_filter_cannot_mean(visitor):
    assert "mioux" in text(visitor.open("/gallery", "?run=exp/main-0&q=mioux>0"))


def test_settings_are_columns_and_sort_the_runs(visitor):
    answer = visitor.open("/", "?col=seed&col=train.phases.0.lr&sort=-seed&q=backbone=resnet50")
    assert run_order(answer) == ["other/main-7", "exp/main-2", "exp/main-1", "exp/main-0"]
    row = next(c for c in components(answer) if c["type"] == "Tr" and "exp/main-2" in text(c))
    assert " 2 0.0" in text(row)
    assert "seed ↓" in text(answer)


def test_the_hint_of_the_filter_fits_the_store(visitor, storage):
    hints = values(visitor.open("/"), "placeholder")
    known = {f"miou>{result_of(storage, f'exp/main-{i}')['values']['miou']:.3g}" for i in range(3)}
    assert any(example in hints[0] for example in known)


def test_picked_runs_lead_to_their_comparison(visitor):
    answer = visitor.open("/", "?pick=exp/main-0,other/main-7")
    assert "/compare?run=exp%2Fmain-0&run=other%2Fmain-7" in values(answer, "href")


def test_a_run_shows_its_curves_and_their_metrics_can_be_chosen(visitor):
    def titles(answer):
        return [f["layout"]["title"]["text"] for f in values(answer, "figure")]

    every = titles(visitor.open(RUN))
    assert every[:2] == ["validate/miou over step", "train/loss over step"]
    assert titles(visitor.open(RUN, "?find=lr")) == ["train/lr over step"]
    assert titles(visitor.open(RUN, "?find=lr&x=time")) == ["train/lr over minutes"]
    figure = values(visitor.open(RUN, "?find=train/loss&log=1&smooth=0"), "figure")[0]
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert len(figure["data"]) == 1, "no second curve without smoothing"


def test_a_run_shows_results_settings_environment_rejects_and_log(visitor):
    results = text(visitor.open(RUN, "?tab=results"))
    assert "val (best checkpoint)" in results
    assert "made up" in results
    assert "building" in results
    assert "train.phases.0.lr" in text(visitor.open(RUN, "?tab=settings"))
    assert "packages.torch 2.15.0" in text(visitor.open(RUN, "?tab=environment"))
    assert "scene-broken InputError: the file is empty" in text(visitor.open(RUN, "?tab=rejects"))
    assert "step 10: <b>goes on</b>" in text(visitor.open(RUN, "?tab=log"))


def test_settings_show_their_difference_to_another_run(visitor):
    shown = text(visitor.open(RUN, "?tab=settings&against=exp/main-1"))
    assert "seed 0 1" in shown
    assert "momentum" not in shown


def test_without_a_log_the_tab_shows_what_training_logged(visitor, storage):
    shutil.rmtree(storage / "runs/exp/main-0/log")
    shown = text(visitor.open(RUN, "?tab=log"))
    assert "main step 40: train/loss" in shown
    assert shown.index("main step 39:") < shown.index("main step 40:")


def test_only_the_end_of_a_long_log_is_shown(visitor, storage):
    log = storage / "runs/exp/main-0/log/0.log"
    log.write_text("first\n" + "x" * 70_000 + "\nlast\n")
    shown = text(visitor.open(RUN, "?tab=log"))
    assert "last" in shown
    assert "first" not in shown
    assert "of 70012 bytes" in shown


@pytest.mark.parametrize(
    "file", ["../summary.json", "log/../../main-1/log/0.log", "/etc/passwd", "summary.json"]
)
def test_logs_elsewhere_are_not_shown(visitor, file):
    shown = text(visitor.open(RUN, f"?tab=log&file={file}"))
    assert "There is no log" in shown


def test_a_log_that_links_out_of_the_store_is_not_shown(visitor, storage):
    secret = storage.parent / "secret"
    secret.write_text("the secret")
    (storage / "runs/exp/main-0/log/1.log").symlink_to(secret)
    shown = text(visitor.open(RUN, "?tab=log&file=log/1.log"))
    assert "the secret" not in shown
    assert "leaves the store" in shown


def test_a_comparison_shows_overlaid_curves_and_only_what_differs(visitor):
    answer = visitor.open("/compare", "?run=exp/main-0&run=exp/main-1&smooth=0&find=train/loss")
    shown = text(answer)
    assert "train.phases.0.lr" in shown
    assert "momentum" not in shown
    assert [t["name"] for t in values(answer, "figure")[0]["data"]] == ["main-0", "main-1"]


def test_a_comparison_names_runs_that_are_gone(visitor, storage):
    shutil.rmtree(storage / "runs/exp/main-1")
    shown = text(visitor.open("/compare", "?run=exp/main-0&run=exp/main-1&run=../x"))
    assert "no run 'exp/main-1'" in shown
    assert "no run '../x'" in shown


def test_benchmarks_show_the_best_run(visitor, storage):
    best = max(result_of(storage, f"exp/main-{i}")["values"]["miou"] for i in range(3))
    shown = text(visitor.open("/benchmarks", "?task=seamseg&checkpoint=best"))
    assert "the best of 3 runs" in shown
    assert f"miou made up 0.775 {best:.4g}" in shown
    assert "ops" not in text(visitor.open("/benchmarks", "?task=seamseg")).split()


def test_the_gallery_shows_the_worst_first_and_filters_by_numbers(visitor):
    def shown(search):
        answer = visitor.open("/gallery", f"?run=exp/main-0{search}")
        cards = [c for c in components(answer) if c["props"].get("className") == "card"]
        return [float(text(c).split("miou ")[1].split(",")[0]) for c in cards]

    every = shown("")
    assert len(every) == 3
    assert every == sorted(every)
    assert shown("&order=best") == every[::-1]
    assert shown(f"&q=miou>{every[0] + 1e-3:.6f}") == [v for v in every if v > every[0] + 1e-3]
    assert shown("&q=scene-0001")[0] in every


def test_a_unit_has_a_slider_between_two_pictures_and_its_neighbors(visitor):
    answer = visitor.open("/gallery", "?run=exp/main-0&unit=scene-0001&left=input")
    overlay = next(c for c in components(answer) if c["props"].get("id") == "overlay")
    assert text(overlay) == "input prediction"
    names = [a.rpartition("/")[2].split(".")[1].split("-")[0] for a in values(overlay, "src")]
    assert names == ["prediction", "input"]
    assert len(values(answer, "src")) == 2 + 3
    assert "no pictures of 'nope'" in text(visitor.open("/gallery", "?run=exp/main-0&unit=nope"))


@pytest.mark.parametrize(("path", "search"), EVERY_PAGE)
def test_time_passing_draws_nothing_anew_without_a_change(visitor, path, search, monkeypatch):
    # Published numbers are read in the background: their coming is a change.
    monkeypatch.setattr("eagleray.dashboard.pages.benchmarks.installed_tasks", lambda: ())
    before = visitor.open(path, search)
    assert visitor.follow(path, search, is_tick=True, before=before) is None
    assert visitor.follow(path, search, is_tick=False, before=before) is not None


def log_live(storage, **numbers):
    line = {"kind": "train", "phase": "main", "step": 41, "total_step": 41, **numbers}
    (storage / "runs/exp/main-0/log/live.json").write_text(json.dumps(line))


def test_a_new_metric_is_seen_when_time_passes(visitor, storage):
    before = visitor.open(RUN)
    log_live(storage, fresh=1.5)
    answer = visitor.follow(RUN, is_tick=True, before=before)
    titles = [f["layout"]["title"]["text"] for f in values(answer, "figure")]
    assert "train/fresh over step" in titles


def test_new_points_exchange_the_figures_alone(visitor, storage):
    before = visitor.open(RUN, "?find=train/loss&smooth=0")
    log_live(storage, loss=0.125)
    answer = visitor.follow(RUN, "?find=train/loss&smooth=0", is_tick=True, before=before)
    assert "content" not in answer, "zoom and scroll position would be lost"
    (change,) = answer['{"figure":"train/loss"}']["figure"]["operations"]
    assert change["location"] == ["data"], "a new layout would undo the zoom"
    assert numbers(change["params"]["value"][0]["y"])[-1] == 0.125


def test_a_run_that_is_deleted_while_shown_says_so(visitor, storage):
    before = visitor.open(RUN)
    shutil.rmtree(storage / "runs/exp/main-0")
    answer = visitor.follow(RUN, is_tick=True, before=before)
    assert "no run 'exp/main-0' in this store (any more)" in text(answer)


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "summary.json").write_text('{"task": "seam'),
        lambda run: (run / "summary.json").write_text(
            '{"task": [1], "state": {}, "step": "x", "results": {"a": 1}, "train": 3}'
        ),
        lambda run: (run / "experiment.yaml").write_text("a: ["),
        lambda run: (run / "experiment.yaml").unlink(),
        lambda run: (run / "environment.json").write_bytes(b"\xff"),
        lambda run: (run / "rejects.json").write_text('{"x:train": "0"}'),
        lambda run: (run / "evaluation/val/best.json").write_text("{"),
        lambda run: shutil.rmtree(run / "evaluation"),
        lambda run: shutil.rmtree(run / "metrics"),
        lambda run: [p.write_bytes(p.read_bytes()[:-20]) for p in run.rglob("*.jsonl")],
        lambda run: [p.write_bytes(p.read_bytes()[:50]) for p in run.rglob("*.parquet")],
        lambda run: [p.unlink() for p in run.rglob("*.png")],
        lambda run: [p.write_text("{}") for p in run.rglob("markers/*.json")],
        lambda run: [p.write_text("[]") for p in run.rglob("manifest/*.json")],
        lambda run: [p.write_text("3") for p in run.rglob("current.json")],
    ],
)
def test_damage_in_a_run_breaks_no_page(visitor, storage, damage):
    damage(storage / "runs/exp/main-0")
    for path, search in EVERY_PAGE:
        shown = text(visitor.open(path, search))
        assert "could not be made" not in shown, (path, search)
        assert shown


def test_markup_and_sql_in_names_stay_text(visitor, storage):
    run = storage / "runs/exp/main-0"
    (storage / "runs/exp" / EVIL.replace("/", "")).mkdir()
    summary = json.loads((run / "summary.json").read_text())
    result = {**result_of(storage), "protocol": EVIL, "per_class": {EVIL: {EVIL: 1.0}}}
    summary.update(task=EVIL, state=EVIL, error=EVIL, results={EVIL: result})
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "evaluation/val/best.json").write_text(json.dumps(result))
    line = {"kind": "train", "total_step": 99, EVIL: 1.0}
    (run / "metrics/0009-00000099.jsonl").write_text(json.dumps(line))
    for path, search in EVERY_PAGE:
        answer = visitor.open(path, search)
        assert "could not be made" not in text(answer)
        for figure in values(answer, "figure"):
            assert "<script" not in json.dumps(figure), "plotly reads tags in text"
    assert len(visitor.open("/")) == 2
    assert EVIL in text(visitor.open("/"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/run/../../etc/passwd", "no run"),
        ("/run/exp", "no run"),
        ("/run/exp/%2e%2e", "no run"),
        ("/nope", "No such page"),
        ("/gallery", "worst first"),
    ],
)
def test_odd_addresses_are_answered(visitor, path, expected):
    answer = visitor.open(path)
    assert expected in text(answer) + json.dumps(answer)


def test_a_folder_without_runs_says_so(tmp_path):
    visitor = Visitor(tmp_path, tmp_path / "cache")
    for path in ("/", "/compare", "/sweeps", "/benchmarks", "/gallery", "/run/a/b", "/sweep/a/b"):
        assert "could not be made" not in text(visitor.open(path))
    assert "There are no runs in" in text(visitor.open("/"))


def test_a_run_without_an_evaluation_shows_what_training_found(visitor, storage):
    summary = {
        "task": "seamseg",
        "state": "trained",
        "train": {"loss": 0.25, "miou": 0.5},
        "best": {"checkpoint": "main-1", "metric": "miou", "value": 0.625},
    }
    (storage / "runs/exp/main-0/summary.json").write_text(json.dumps(summary))
    assert "training: miou 0.625 0.5" in text(visitor.open("/"))
    chosen = text(visitor.open("/", "?metric=training%3A+loss&q=exp/main-0"))
    assert "exp/main-0 seamseg trained training: loss 0.25" in chosen


def test_a_run_in_training_shows_how_far_it_is(visitor, storage):
    folder = Store(str(storage)).child("runs/exp/main-0")
    folder.write("summary.json", json.dumps({"task": "seamseg", "state": "training"}).encode())
    log_live(storage, loss=0.5)
    before = visitor.open("/")
    assert "interrupted" in text(before)
    with Lease(folder):
        assert "training 41 training: loss 0.5" in text(visitor.open("/"))
        assert visitor.follow("/", is_tick=True, before=before) is not None


def test_many_runs_are_the_rows_of_the_tables(visitor, storage):
    for idx in range(3, 7):
        shutil.copytree(storage / "runs/exp/main-0", storage / f"runs/exp/main-{idx}")
    search = "?" + "&".join(f"run=exp/main-{idx}" for idx in range(7))
    shown = text(visitor.open("/compare", search))
    assert "run val (best) miou val (best) pq exp/main-0" in shown
    assert "run seed train.phases.0.lr exp/main-0 0" in shown


def test_results_show_diagnostics_as_figures_and_tables_that_sort(visitor):
    answer = visitor.open(RUN, "?tab=results")
    shown = text(answer)
    assert "What became of the segments class matched missed split sky 40 3" in shown
    titles = [f["layout"]["title"]["text"] for f in values(answer, "figure")]
    assert "Confusion of pixels" in titles and "Precision over recall" in titles
    assert "order" in values(answer, "className")


def test_damaged_diagnostics_are_named_and_the_rest_is_shown(visitor, storage):
    (storage / "runs/exp/main-0/evaluation/val/diagnostics/best.json").write_text("{")
    shown = text(visitor.open(RUN, "?tab=results"))
    assert "diagnostics/best.json is damaged" in shown and "val (best checkpoint)" in shown


def test_a_unit_has_labels_to_switch_and_pictures_without_them(visitor, storage):
    answer = visitor.open("/gallery", "?run=exp/main-0&unit=scene-0000")
    box = next(c for c in components(answer) if c["props"].get("className") == "labeled")
    told = json.loads(box["props"]["data-layers"])
    assert set(told["layers"]) == {"truth", "prediction"} and len(told["names"]) == 7
    for source in (told["input"], *(layer["source"] for layer in told["layers"].values())):
        assert visitor.client.get(source).mimetype == "image/png"
    run = find_run(str(storage), "main-0")
    unit = read_units(run, read_evaluations(run)[0]).units[0]
    run.write(unit.legend.path, b"{")
    answer = visitor.open("/gallery", "?run=exp/main-0&unit=scene-0000")
    assert "labeled" not in values(answer, "className") and "overlay" in values(answer, "className")
