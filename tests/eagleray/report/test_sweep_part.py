"""A sweep in the report: table, figures, damage, markup; and the verb that asks for it."""

from __future__ import annotations

import json

import pytest
from experiments.benchmarks.fake_sweep import FakeSweep, write_sweep_of
from tests.eagleray.report.test_document import Page

from eagleray.analysis.ablation import sweep_table
from eagleray.analysis.variants import variant_results
from eagleray.browse.axes import make_axis
from eagleray.browse.figures import COLORS
from eagleray.browse.sweep_figures import differences_figure
from eagleray.cli.main import run as run_command
from eagleray.report import report_html
from eagleray.sweep.results import read_results

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def sweep(tmp_path):
    return write_sweep_of(str(tmp_path / "store"), FakeSweep("exp", "heads-1"))


@pytest.fixture
def search(tmp_path):
    return write_sweep_of(str(tmp_path / "store"), FakeSweep("exp", "lr-2", "search", 15))


def report_of(tmp_path, *sweeps):
    return report_html(str(tmp_path / "store"), [], sweeps=sweeps)


def test_a_report_shows_a_sweeps_table_and_figures(tmp_path, sweep, search):
    text = report_of(tmp_path, sweep, search)
    page = Page(text)
    for folder in (sweep, search):
        for row in sweep_table(folder).rows:
            assert " ".join(cell.text for cell in row if cell.text) in page.text
    assert text.count("plotly-graph-div") == 4 + 5
    assert "miou over batch_size" in text
    assert all(a.startswith(("data:", "#")) for a in page.addresses)


def test_a_damaged_trial_is_named_in_the_report(tmp_path, search):
    search.write("trials/trial-0003.json", b"{")
    text = Page(report_of(tmp_path, search)).text
    assert "trials/trial-0003.json" in text
    assert "trial-0004" in text


def test_a_damaged_sweep_is_named_in_the_report(tmp_path, sweep, search):
    sweep.write("sweep.json", b"{")
    text = Page(report_of(tmp_path, sweep, search)).text
    assert "sweep.json" in text
    assert "trial-0004" in text


def test_markup_in_a_sweep_is_text(tmp_path, search):
    record = json.loads(search.read("sweep.json"))
    record.update(metric=EVIL, benchmark=EVIL, space={EVIL: EVIL, **record["space"]})
    search.write("sweep.json", json.dumps(record).encode())
    text = report_of(tmp_path, search)
    assert EVIL not in text
    assert Page(text).handlers == []


@pytest.mark.parametrize("name", ["exp/heads-1", "heads-1", "folder"])
def test_the_verb_takes_a_sweep_by_name_or_folder(tmp_path, sweep, capsys, name):
    output = tmp_path / "report.html"
    named = sweep.uri if name == "folder" else name
    given = [named, "--storage", str(tmp_path / "store"), "--output", str(output)]
    assert run_command(["report", *given]) == 0
    assert "1 sweep, 0 runs" in capsys.readouterr().out
    assert "plain_head" in Page(output.read_text()).text


def test_differences_are_drawn_with_their_intervals(sweep):
    results = read_results(sweep)
    figure = differences_figure(results)
    drawn = {trace.name: trace for trace in figure.data}
    found = {v.name: v.difference for v in variant_results(results) if v.difference}
    assert set(drawn) == set(found)
    for name, difference in found.items():
        trace, error = drawn[name], drawn[name].error_x
        assert trace.x[0] - error.arrayminus[0] == pytest.approx(difference.low)
        assert trace.x[0] + error.array[0] == pytest.approx(difference.high)
        leaves_out_zero = difference.low > 0 or difference.high < 0
        assert (trace.marker.color != COLORS[-1]) == leaves_out_zero
    alike = {trace.marker.color for trace in differences_figure(results.by("pq")).data}
    assert alike == {COLORS[-1]}, "which way is better is known of the sweep's metric alone"


def test_without_an_interval_there_is_no_figure_of_differences(tmp_path, search):
    one_seed = write_sweep_of(str(tmp_path / "store"), FakeSweep("exp", "one-3", count=1))
    assert differences_figure(read_results(one_seed)) is None
    assert differences_figure(read_results(search)) is None


def test_numbers_that_span_decades_are_placed_by_their_logarithm():
    axis = make_axis("lr", [1e-4, 1e-2, None, 1e-3])
    assert axis.is_log
    assert axis.places == [0.0, 1.0, None, pytest.approx(0.5)]


def test_few_values_are_all_written_and_many_get_round_ticks():
    assert list(make_axis("batch", [2, 8, 4, 8]).ticks.values()) == ["2", "4", "8"]
    ticks = make_axis("batch", list(range(2, 17))).ticks
    assert list(ticks.values()) == ["5", "10", "15"]
    assert list(ticks) == [pytest.approx((v - 2) / 14) for v in (5, 10, 15)]
    decades = make_axis("lr", [1e-4 * 2**idx for idx in range(10)])
    assert list(decades.ticks.values()) == ["0.0001", "0.001", "0.01"]


def test_anything_else_is_an_axis_of_texts():
    axis = make_axis("head", ["fpn", None, "aspp", True, [1, 2], "fpn"])
    assert axis.is_text
    assert axis.places[0] == axis.places[-1]
    assert axis.places[1] is None
    assert set(axis.ticks.values()) == {"fpn", "aspp", "true", "[1, 2]"}


def test_one_value_lies_in_the_middle():
    assert make_axis("lr", [0.1, 0.1]).places == [0.5, 0.5]
    assert make_axis("lr", []).ticks == {}
