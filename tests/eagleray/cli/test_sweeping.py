"""The verb ``sweep``: what it prints, and its exit statuses."""

from __future__ import annotations

import pytest
import yaml

from eagleray.cli import main
from eagleray.sweep.folder import find_sweep


@pytest.fixture
def file(tmp_path):
    def write(ablations):
        path = tmp_path / "quick.yaml"
        values = {
            "task": "tiny",
            "storage": str(tmp_path / "storage"),
            "settings": {"steps": 4},
            "sweep": {"ablations": ablations},
        }
        path.write_text(yaml.safe_dump(values))
        return str(path)

    return write


def test_dry_run_lists_trials_with_what_differs_and_runs_none(file, tmp_path, capsys):
    assert main.run(["sweep", file({"fast": {"train.phases.0.lr": 0.5}}), "--dry-run"]) == 0
    text = capsys.readouterr().out
    for word in ("baseline-s0", "fast-s0", "train.phases.0.lr", "0.5", "2 trials", "least mse"):
        assert word in text
    assert not (tmp_path / "storage" / "runs").exists()


def test_sweep_prints_and_writes_its_table(file, tmp_path, capsys):
    assert main.run(["sweep", file({"fast": {"train.phases.0.lr": 0.5}}), "--inline"]) == 0
    text = capsys.readouterr().out
    assert "baseline" in text
    assert "fast" in text
    folder = find_sweep(str(tmp_path / "storage"), "quick")
    assert folder.files("tables") == [
        "tables/table.csv",
        "tables/table.md",
        "tables/table.tex",
    ]


def test_failed_trials_are_listed_at_the_end(file, capsys):
    path = file({"bad": {"raise_at_step": 1}, "fast": {"train.phases.0.lr": 0.5}})
    assert main.run(["sweep", path, "--inline"]) == 1
    errors = capsys.readouterr().err
    assert "failed: bad-s0 (run quick/main-" in errors
    assert "ZeroDivisionError: made to fail at step 1" in errors
    assert "1 of 3 trials of quick/main-" in errors
    assert "the same command tries them again" in errors


def test_impossible_sweep_is_refused(file, capsys):
    assert main.run(["sweep", file({"bad": {"train.phases.0.lrr": 1}})]) == 2
    assert "did you mean 'lr'" in capsys.readouterr().err
