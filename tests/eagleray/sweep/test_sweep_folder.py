"""A sweep's folder: what is written comes back, damage is named."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from eagleray.sweep.sweep_folder import (
    EXPERIMENT_FILE,
    SweepRecord,
    TrialRecord,
    find_sweep,
    list_sweeps,
    read_sweep,
    read_trial,
    read_trials,
    sweep_name,
    sweep_store,
    write_sweep,
    write_trial,
)
from eagleray.task import InputError, SettingsError

SWEEP = SweepRecord(
    name="main-1234",
    experiment="quick",
    task="tiny",
    kind="ablations",
    benchmark="fit",
    metric="mse",
    higher_is_better=False,
    baseline="baseline",
    seeds=(0, 1),
    variants={"baseline": {}, "fast": {"train.phases.0.lr": 0.1}},
)
TRIAL = TrialRecord(
    id="fast-s1", variant="fast", seed=1, overrides={"train.phases.0.lr": 0.1}, run="quick/main-ab",
    state="done", steps=10, value=0.5, best_step=8, last_value=0.6, values={"mse": 0.5, "r": None},
    device_seconds=1.5, device="cpu",
)  # fmt: skip


@pytest.fixture
def sweep(tmp_path: Any) -> Any:
    store = sweep_store(str(tmp_path), "quick", "main-1234")
    write_sweep(store, SWEEP, {"task": "tiny", "seed": 0})
    return store


def test_records_come_back_as_they_were_written(sweep: Any) -> None:
    write_trial(sweep, TRIAL)
    write_trial(sweep, TrialRecord(id="baseline-s0"))
    assert read_sweep(sweep) == SWEEP
    assert [t.id for t in read_trials(sweep)] == ["baseline-s0", "fast-s1"]
    assert read_trial(sweep, "fast-s1") == TRIAL
    assert read_trial(sweep, "other") is None
    assert yaml.safe_load(sweep.read(EXPERIMENT_FILE)) == {"task": "tiny", "seed": 0}


def test_damaged_file_is_named(sweep: Any) -> None:
    sweep.write("trials/bad.json", b'{"id": "bad", "state": "sleeping"}')
    with pytest.raises(InputError, match=r"trials/bad\.json: state"):
        read_trials(sweep)
    sweep.write("sweep.json", b"{half")
    with pytest.raises(InputError, match=r"sweep\.json"):
        read_sweep(sweep)


def test_sweeps_are_listed_and_found_by_part_of_their_name(sweep: Any, tmp_path: Any) -> None:
    storage = str(tmp_path)
    sweep_store(storage, "quick", "half-made").write("trials/a.json", b"")
    write_sweep(sweep_store(storage, "slow", "main-77"), SWEEP, {})
    assert [sweep_name(s) for s in list_sweeps(storage)] == ["quick/main-1234", "slow/main-77"]
    for name in ("quick", "main-1234", "quick/main-1234"):
        assert find_sweep(storage, name).uri == sweep.uri
    with pytest.raises(SettingsError, match="no sweep called 'none'"):
        find_sweep(storage, "none")
    with pytest.raises(SettingsError, match="is no sweep"):
        read_sweep(sweep_store(storage, "quick", "half-made"))
