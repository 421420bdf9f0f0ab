"""The table of a sweep against numbers computed by hand, with everything that can be missing."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
import yaml
from scipy import stats

from eagleray.analysis.ablation import make_table, sweep_table, write_tables
from eagleray.analysis.variants import best_ones, variant_results
from eagleray.experiment.paths import short_names
from eagleray.sweep.folder import SweepSummary, TrialRecord, sweep_below, sweeps_store
from eagleray.sweep.results import SweepResults, read_results
from eagleray.task import InputError, PublishedResult, SettingsError

VALUES = {
    "baseline": {0: 0.50, 1: 0.52, 2: 0.55},
    "plain_head": {0: 0.47, 1: 0.51, 2: 0.49},
}


def sweep_record(**changes):
    known = {
        "name": "main-1", "experiment": "exp", "task": "toy", "kind": "ablations",
        "benchmark": "val", "metric": "pq", "baseline": "baseline", "seeds": (0, 1, 2),
        "variants": {"baseline": {}, "plain_head": {"settings.head": "fpn"}},
    }  # fmt: skip
    return SweepSummary(**{**known, **changes})


def trial(variant, seed, value, state="done", **more):
    known = {
        "run": f"exp/{variant}-{seed}", "last_value": None if value is None else value - 0.01,
        "steps": 100, "best_step": 80, "device_seconds": 360.0,
        "overrides": {"settings.head": "fpn"} if variant == "plain_head" else {},
    }  # fmt: skip
    fields = {**known, **more}
    return TrialRecord.model_construct(
        id=f"{variant}-{seed}", variant=variant, seed=seed, value=value, state=state, **fields
    )


def results_of(values=VALUES, record=None, extra=(), **more):
    trials = [trial(v, s, value) for v, seeds in values.items() for s, value in seeds.items()]
    return SweepResults(record or sweep_record(), [*trials, *extra], **more)


def data_of(table):
    return {row["variant"]: row for row in csv.DictReader(io.StringIO(table.csv()))}


def cells_of(table):
    shown = [
        dict(zip(table.columns, (cell.text for cell in row), strict=True)) for row in table.rows
    ]
    return {row[table.columns[0]]: row for row in shown}


def test_variants_are_compared_with_the_baseline_seed_by_seed():
    found = data_of(make_table(results_of()))
    ours, base = (np.array(list(VALUES[name].values())) for name in ("plain_head", "baseline"))
    expected = stats.ttest_rel(ours, base).confidence_interval(0.95)
    row = found["plain_head"]
    assert float(row["mean"]) == pytest.approx(ours.mean(), rel=1e-12)
    assert float(row["standard_deviation"]) == pytest.approx(ours.std(ddof=1), rel=1e-12)
    assert float(row["last_mean"]) == pytest.approx(ours.mean() - 0.01, rel=1e-12)
    assert float(row["difference"]) == pytest.approx((ours - base).mean(), rel=1e-12)
    assert float(row["difference_low"]) == pytest.approx(expected.low, rel=1e-9)
    assert float(row["difference_high"]) == pytest.approx(expected.high, rel=1e-9)
    assert row["pairs"] == "3"
    assert found["baseline"]["difference"] == "", "the baseline has no difference to itself"


def test_the_interval_of_pairs_is_narrower_than_that_of_the_means():
    """Seeds move both variants alike: the pairing is what makes the difference visible."""
    noise = {0: -0.2, 1: 0.0, 2: 0.2}
    values = {
        "baseline": {s: 0.5 + n for s, n in noise.items()},
        "plain_head": {s: 0.51 + n + 0.001 * s for s, n in noise.items()},
    }
    found = variant_results(results_of(values))[1]
    assert found.difference.low > 0
    assert found.best.deviation == pytest.approx(0.201, abs=1e-3)


def test_people_see_rounded_numbers_and_the_best_one_marked():
    table = make_table(results_of())
    cells = cells_of(table)
    assert cells["baseline"]["pq"] == "0.5233 ± 0.0252"
    assert cells["plain_head"]["difference"] == "-0.0333 (3)"
    assert cells["plain_head"]["95 % interval"] == "[-0.0958, +0.0292]", "4.30265 · 0.025166 / √3"
    assert cells["plain_head"]["device-hours"] == "0.3 cpu"
    assert cells["plain_head"]["trials"] == "3 done"
    assert "0.5233 ± 0.0252 (best)" in table.text()
    assert "**0.5233 ± 0.0252**" in table.markdown()
    assert r"\textbf{0.5233 $\pm$ 0.0252}" in table.latex()
    assert r"plain\_head & 0.4900 $\pm$ 0.0200" in table.latex()
    assert "plain_head: settings.head=fpn" in table.text()


def test_where_less_is_better_the_smallest_mean_is_the_best():
    record = sweep_record(higher_is_better=False, metric_unit="m")
    text = make_table(results_of(record=record)).text()
    assert "0.4900 ± 0.0200 (best)" in text
    assert "lower is better" in text
    assert "pq (m)" in text


def test_one_seed_has_no_spread_and_no_interval():
    values = {"baseline": {0: 0.5}, "plain_head": {0: 0.6}}
    table = make_table(results_of(values, sweep_record(seeds=(0,))))
    cells = cells_of(table)
    assert cells["plain_head"]["pq"] == "0.6000"
    assert cells["plain_head"]["difference"] == "+0.1000 (1)"
    assert cells["plain_head"]["95 % interval"] == "-"
    row = data_of(table)["plain_head"]
    assert (row["standard_deviation"], row["difference_low"], row["difference_high"]) == (
        "",
        "",
        "",
    )


def test_a_failed_trial_is_counted_and_takes_its_pair_with_it():
    values = {"baseline": VALUES["baseline"], "plain_head": {0: 0.47, 1: 0.51}}
    failed = trial("plain_head", 2, None, "failed", error="CUDA out of memory")
    table = make_table(results_of(values, extra=[failed]))
    cells = cells_of(table)["plain_head"]
    assert cells["trials"] == "2 done, 1 failed"
    assert cells["difference"] == "-0.0200 (2)", "the mean over the two pairs, not over three"
    assert cells["pq"] == "0.4900 ± 0.0283"


def test_a_failed_trial_with_a_value_does_not_count():
    values = {"baseline": VALUES["baseline"], "plain_head": {0: 0.47, 1: 0.51}}
    failed = trial("plain_head", 2, 0.99, "failed")
    assert cells_of(make_table(results_of(values, extra=[failed])))["plain_head"]["pq"].startswith(
        "0.49"
    )


@pytest.mark.parametrize("state", ["stopped", "running", "pending"])
def test_trials_that_are_not_finished_are_no_part_of_the_mean(state):
    values = {"baseline": VALUES["baseline"], "plain_head": {0: 0.47, 1: 0.51}}
    table = make_table(results_of(values, extra=[trial("plain_head", 2, 0.99, state)]))
    cells = cells_of(table)["plain_head"]
    assert cells["pq"].startswith("0.4900 ± 0.0283")
    assert cells["trials"] == f"2 done, 1 {state}"


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_finished_trial_without_a_number_says_so(value):
    values = {"baseline": VALUES["baseline"], "plain_head": {0: 0.47, 1: 0.51, 2: value}}
    cells = cells_of(make_table(results_of(values)))["plain_head"]
    assert cells["pq"].startswith("0.4900 ± 0.0283")
    assert cells["trials"] == "3 done, 1 without a value"
    assert cells["difference"].endswith("(2)")


def test_a_variant_without_any_value_shows_dashes():
    values = {"baseline": VALUES["baseline"]}
    extra = [trial("plain_head", s, None, "failed") for s in (0, 1, 2)]
    cells = cells_of(make_table(results_of(values, extra=extra)))["plain_head"]
    assert (cells["pq"], cells["last"]) == ("-", "-")
    assert (cells["difference"], cells["95 % interval"]) == ("-", "-")


def test_seeds_without_a_record_are_pending():
    values = {"baseline": {0: 0.5}, "plain_head": {}}
    cells = cells_of(make_table(results_of(values)))
    assert cells["baseline"]["trials"] == "1 done, 2 pending"
    assert cells["plain_head"]["trials"] == "3 pending"


def test_without_a_baseline_there_is_no_difference():
    record = sweep_record(baseline=None, variants={"plain_head": {}, "baseline": {}})
    table = make_table(results_of(record=record))
    assert "difference" not in table.columns
    assert [row[0].text for row in table.rows] == ["plain_head", "baseline"]


def test_another_metric_can_be_shown_but_has_no_best():
    extra = [trial("baseline", 0, 0.5, values={"pq": 0.5, "miou": 0.7})]
    extra += [trial("plain_head", 0, 0.4, values={"pq": 0.4, "miou": 0.9})]
    table = make_table(results_of({}, extra=extra).by("miou"))
    cells = cells_of(table)
    assert (cells["baseline"]["miou"], cells["plain_head"]["miou"]) == ("0.7000", "0.9000")
    assert cells["plain_head"]["difference"] == "+0.2000 (1)"
    assert "last" not in table.columns
    assert "(best)" not in table.text(), "which way it is better is not known"


def test_costs_are_added_by_device():
    extra = [
        trial("baseline", 0, 0.5, device="cuda", device_seconds=7200.0),
        trial("baseline", 1, None, "failed", device="cpu", device_seconds=1800.0),
    ]
    table = make_table(results_of({}, extra=extra))
    assert cells_of(table)["baseline"]["device-hours"] == "2 cuda, 0.5 cpu"
    assert float(data_of(table)["baseline"]["device_hours"]) == 2.5


def test_published_values_stand_beside_the_variants_that_they_are_of():
    published = [
        PublishedResult("pq", 0.6031, "arXiv 1", "ResNet-50", False),
        PublishedResult("pq", 0.58, "arXiv 2", "plain_head", True),
        PublishedResult("miou", 0.9, "arXiv 2", "plain_head", False),
    ]
    record = sweep_record(published={"baseline": "ResNet-50"})
    table = make_table(results_of(record=record, published=published))
    cells = cells_of(table)
    assert cells["baseline"]["paper"] == "0.6031"
    assert cells["plain_head"]["paper"] == "0.58*"
    assert "* quoted from memory, to be checked" in table.text()
    assert data_of(table)["plain_head"]["published_source"] == "arXiv 2"
    assert "paper" not in make_table(results_of(published=published[:1])).columns


def test_names_with_special_characters_survive_every_format():
    name = r"50%_a&b {c}|<d> $x$ #1 \e"
    record = sweep_record(variants={"baseline": {}, name: {"settings.a_b": "x|y"}})
    table = make_table(results_of({"baseline": VALUES["baseline"], name: {0: 0.5}}, record))
    assert name in table.text()
    assert r"50\%\_a\&b \{c\}\textbar{}\textless{}d\textgreater{}" in table.latex()
    (line,) = [line for line in table.markdown().splitlines() if line.startswith("| 50%")]
    assert line.replace("\\|", "").count("|") == len(table.columns) + 1
    assert name in data_of(table)


def search_record(**changes):
    return sweep_record(
        kind="search", baseline=None, variants={}, seeds=(0,),
        space={"train.phases.0.lr": "log_uniform 1e-4 to 1e-2", "train.phases.0.steps": "2 to 9"},
        **changes,
    )  # fmt: skip


def searched(idx, value, state="done", **more):
    overrides = {"train.phases.0.lr": 10.0**-idx, "train.phases.0.steps": idx}
    given = {"overrides": overrides, **more}
    return trial("t", idx, value, state, **given)


def test_trials_of_a_search_come_best_first_with_their_settings():
    trials = [
        searched(1, 0.3), searched(2, 0.6), searched(3, None, "failed", error="NaN\nin step 3"),
        searched(4, 0.7, "stopped"), searched(5, None, "pending"),
    ]  # fmt: skip
    table = make_table(SweepResults(search_record(), trials))
    assert [row[0].text for row in table.rows] == ["t-4", "t-2", "t-1", "t-3", "t-5"]
    cells = cells_of(table)
    assert cells["t-2"]["lr"] == "0.01"
    assert cells["t-2"]["setting steps"] == "2", "kept apart from the column of trained steps"
    assert cells["t-2"]["steps"] == "100"
    assert cells["t-3"]["state"] == "failed: NaN in step 3"
    assert cells["t-3"]["pq"] == "-"
    assert "0.6000 (best)" in table.text(), "a stopped trial was measured on something else"
    assert "0.7000 (best)" not in table.text()
    assert "stopped: ended early" in table.text()
    data = {r["trial"]: r for r in csv.DictReader(io.StringIO(table.csv()))}
    assert float(data["t-3"]["train.phases.0.lr"]) == 10.0**-3
    assert data["t-4"]["run"] == "exp/t-4"


def test_less_can_be_better_in_a_search():
    trials = [searched(1, 0.3), searched(2, 0.6), searched(3, math.nan)]
    results = SweepResults(search_record(higher_is_better=False), trials)
    assert [t.id for t in results.ranked()] == ["t-1", "t-2", "t-3"]


def test_ties_are_all_the_best_and_a_single_value_is_none():
    assert best_ones([0.5, 0.5, None, 0.1], higher_is_better=True) == [True, True, False, False]
    assert best_ones([0.5, None], higher_is_better=True) == [False, False]
    assert best_ones([0.5, 0.2], higher_is_better=None) == [False, False]


def test_settings_get_names_as_short_as_they_stay_distinct():
    names = ["train.phases.0.lr", "train.phases.1.lr", "settings.size", "size", "seed"]
    assert short_names(names) == {
        "train.phases.0.lr": "0.lr", "train.phases.1.lr": "1.lr",
        "settings.size": "settings.size", "size": "size", "seed": "seed",
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    sweep = sweep_below(sweeps_store(str(tmp_path)), "exp/main-1")
    sweep.begin(sweep_record(), {"task": "toy", "settings": {"head": "aspp"}})
    for one in results_of().trials:
        sweep.write_trial(one)
    return sweep


def test_a_folder_gives_the_same_table_as_its_records(folder):
    assert sweep_table(folder).csv() == make_table(results_of()).csv()
    results = read_results(folder)
    assert [results.setting(t, "settings.head") for t in results.trials] == ["aspp"] * 3 + [
        "fpn"
    ] * 3


def test_tables_are_written_into_the_folder(folder):
    assert write_tables(folder) == ["tables/table.md", "tables/table.tex", "tables/table.csv"]
    table = sweep_table(folder)
    assert folder.read("tables/table.md").decode() == table.markdown()
    assert folder.read("tables/table.tex").decode() == table.latex()
    assert folder.read("tables/table.csv").decode() == table.csv()


def test_published_numbers_are_read_from_the_results_of_a_trials_run(folder, tmp_path):
    published = {"metric": "pq", "value": 0.6, "source": "s", "model": "plain_head"}
    result = {
        "benchmark": "val", "checkpoint": "best", "metric": "pq", "values": {"pq": 0.5},
        "published": [published],
    }  # fmt: skip
    run = tmp_path / "runs/exp/baseline-0"
    run.mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps({"results": {"x": 3, "val/best": result}}))
    table = sweep_table(folder)
    assert cells_of(table)["plain_head"]["paper"] == "0.6"
    assert table.notes == [], "checkpoints are chosen by the metric that is shown"
    (run / "summary.json").write_text(json.dumps({"results": {"a": {**result, "metric": "miou"}}}))
    assert sweep_table(folder).notes == ["pq of the checkpoint that is best by miou"]
    base = yaml.safe_load(folder.read("experiment.yaml"))
    asked = {**base, "train": {**base.get("train", {}), "validate_on": {"metric": "pq"}}}
    folder.write("experiment.yaml", yaml.safe_dump(asked).encode())
    assert sweep_table(folder).notes == [], "training was asked for the metric that is shown"


@pytest.mark.parametrize(
    "content", [b"", b'{"id": "plain', b"\xff\xfe", b"[]", b'{"id":"a","value":NaN}']
)
def test_a_damaged_trial_is_named_and_the_others_are_shown(folder, content):
    folder.write("trials/plain_head-2.json", content)
    table = sweep_table(folder)
    assert cells_of(table)["plain_head"]["trials"] == "2 done, 1 pending"
    assert "not in the table: " in table.text()
    assert "plain_head-2.json" in table.text()


def test_a_damaged_sweep_is_an_error_that_names_the_file(folder):
    folder.write("sweep.json", b'{"name": "main')
    with pytest.raises(InputError, match=r"sweep\.json"):
        sweep_table(folder)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="is no sweep"):
        sweep_table(sweep_below(sweeps_store(str(tmp_path)), "exp/nothing"))
