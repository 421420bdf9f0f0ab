"""``eagleray show --sweep``: every format, and what is said where a name fits nothing."""

from __future__ import annotations

import csv
import io

import pytest
from experiments.benchmarks.fake_sweep import FakeSweep, write_sweep_of

from eagleray.analysis.ablation import sweep_table
from eagleray.cli.main import run
from eagleray.sweep.folder import find_sweep


@pytest.fixture
def storage(tmp_path):
    write_sweep_of(str(tmp_path), FakeSweep("exp", "main-1"))
    write_sweep_of(str(tmp_path), FakeSweep("other", "main-2", "search", 6))
    return tmp_path


@pytest.mark.parametrize("kind", ["text", "markdown", "latex", "csv"])
@pytest.mark.parametrize("name", ["exp/main-1", "main-1", "exp"])
def test_a_sweep_is_shown_in_every_format(storage, capsys, kind, name):
    assert run(["show", "--storage", str(storage), "--sweep", name, "--format", kind]) == 0
    table = sweep_table(find_sweep(str(storage), "exp/main-1"))
    assert capsys.readouterr().out.rstrip() == table.formatted(kind).rstrip()


def test_another_metric_is_shown_by_its_name(storage, capsys):
    given = ["--sweep", "exp", "--metric", "pq", "--format", "csv"]
    assert run(["show", "--storage", str(storage), *given]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["metric"] for row in rows} == {"pq"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--sweep", "nothing"], "sweeps there: exp/main-1, other/main-2"),
        (["--sweep", "exp", "--metric", "miuo"], "did you mean 'miou'"),
        (["exp/run", "--sweep", "exp"], "runs are named too"),
    ],
)
def test_what_fits_nothing_is_refused_with_what_there_is(storage, capsys, given, expected):
    assert run(["show", "--storage", str(storage), *given]) == 2
    assert expected in capsys.readouterr().err


def test_sweeps_are_listed_below_the_runs(storage, capsys):
    assert run(["show", "--storage", str(storage)]) == 0
    assert capsys.readouterr().out.endswith("exp/main-1\nother/main-2\n")
