"""A sweep's folder: what is written comes back, damage is named."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from eagleray.sweep.folder import (
    SweepSummary,
    TrialRecord,
    find_sweep,
    list_sweeps,
    sweep_below,
    sweeps_store,
)
from eagleray.task import InputError, SettingsError

SWEEP = SweepSummary(
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
    folder = sweep_below(sweeps_store(str(tmp_path)), "quick/main-1234")
    folder.begin(SWEEP, {"task": "tiny", "seed": 0})
    return folder


def test_records_come_back_as_they_were_written(sweep: Any) -> None:
    sweep.write_trial(TRIAL)
    sweep.write_trial(TrialRecord(id="baseline-s0"))
    assert sweep.summary() == SWEEP
    assert [t.id for t in sweep.trials()] == ["baseline-s0", "fast-s1"]
    assert sweep.trial("fast-s1") == TRIAL
    assert sweep.trial("other") is None
    assert yaml.safe_load(sweep.read(sweep.EXPERIMENT)) == {"task": "tiny", "seed": 0}


def test_damaged_file_is_named(sweep: Any) -> None:
    sweep.write("trials/bad.json", b'{"id": "bad", "state": "sleeping"}')
    with pytest.raises(InputError, match=r"trials/bad\.json: state"):
        sweep.trials()
    sweep.write("sweep.json", b"{half")
    with pytest.raises(InputError, match=r"sweep\.json"):
        sweep.summary()


def test_sweeps_are_listed_and_found_by_part_of_their_name(sweep: Any, tmp_path: Any) -> None:
    storage = str(tmp_path)
    sweep_below(sweeps_store(storage), "quick/half-made").write("trials/a.json", b"")
    sweep_below(sweeps_store(storage), "slow/main-77").begin(SWEEP, {})
    assert [s.name for s in list_sweeps(storage)] == ["quick/main-1234", "slow/main-77"]
    for name in ("quick", "main-1234", "quick/main-1234"):
        assert find_sweep(storage, name).uri == sweep.uri
    with pytest.raises(SettingsError, match="no sweep called 'none'"):
        find_sweep(storage, "none")
    with pytest.raises(SettingsError, match="is no sweep"):
        sweep_below(sweeps_store(storage), "quick/half-made").summary()
