"""A sweep whose driver is killed or interrupted: the same command ends in the same table, and no
step is trained twice for nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from eagleray.analysis.ablation import sweep_table
from eagleray.runs.metrics import next_attempt, read_lines
from eagleray.runs.run_folder import find_run, list_runs
from eagleray.sweep.folder import find_sweep

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 300
STEPS = 30
CHECKPOINT_EVERY = 10


class Sweep:
    """An 8-trial sweep in a storage of its own, driven by the command line."""

    def __init__(self, folder, load_seconds=0.005, **train):
        self.storage = str(folder / "storage")
        self.file = folder / "killed.yaml"
        values = {
            "task": "tiny",
            "storage": self.storage,
            "settings": {"steps": STEPS, "load_seconds": load_seconds, "dropout": 0.1},
            "train": {
                "log_every": 5,
                "checkpoint_every": CHECKPOINT_EVERY,
                "validate_on": {"benchmark": "fit", "every": 10},
                **train,
            },
            "sweep": {
                "seeds": [0, 1],
                "ablations": {f"lr{n}": {"train.phases.0.lr": 0.01 * n} for n in (2, 4, 8)},
            },
        }
        self.file.write_text(yaml.safe_dump(values))

    def start(self, *flags):
        command = [sys.executable, "-m", "tests.chaos.command", "sweep", str(self.file), *flags]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def finish(self, *flags):
        """Run the command to its end."""
        process = self.start(*flags)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors.decode()[-3000:]

    def states(self):
        """Return the trials' states; nothing before the sweep has begun."""
        found = {}
        for path in Path(self.storage).glob("sweeps/*/*/trials/*.json"):
            found[path.stem] = json.loads(path.read_text())["state"]
        return found

    def wait_for(self, process, done, running):
        """Wait until so many trials are done, others running."""
        end = time.monotonic() + PATIENCE_S
        while True:
            states = list(self.states().values())
            if states.count("done") >= done and states.count("running") >= running:
                return
            assert process.poll() is None, process.stderr.read().decode()[-3000:]
            assert time.monotonic() < end, f"the sweep does not get on: {states}"
            time.sleep(0.02)

    def values(self):
        trials = find_sweep(self.storage, "killed").trials()
        return {t.id: (t.state, t.value, t.last_value, t.best_step, t.steps) for t in trials}

    def table(self):
        """Return the table without what time it took."""
        table = sweep_table(find_sweep(self.storage, "killed"))
        hours = table.columns.index("device-hours")
        return [[c.text for i, c in enumerate(row) if i != hours] for row in table.rows]

    def runs(self):
        return {run.uri.rsplit("/", 1)[-1]: run for run in list_runs(self.storage)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), load_seconds=0.0)
    sweep.finish("--inline")
    return sweep


def assert_same_table(sweep, undisturbed):
    assert sweep.values() == undisturbed.values()
    assert sweep.table() == undisturbed.table()


def assert_no_step_was_wasted(sweep, disturbed_trials):
    """Steps of undisturbed trials were written once; others lost no more than a checkpoint's."""
    trials = find_sweep(sweep.storage, "killed").trials()
    for trial in trials:
        run = find_run(sweep.storage, trial.run)
        attempts = next_attempt(run) - 1
        written = sum(len(run.read(path).splitlines()) for path in run.files("metrics") if path)
        assert attempts <= (2 if trial.id in disturbed_trials else 1), trial.id
        repeated = written - len(read_lines(run))
        assert repeated <= (CHECKPOINT_EVERY if trial.id in disturbed_trials else 0), trial.id


def test_killed_sweep_ends_in_the_same_table(tmp_path, undisturbed):
    sweep = Sweep(tmp_path)
    process = sweep.start("--inline")
    sweep.wait_for(process, done=3, running=1)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)
    broken = {trial for trial, state in sweep.states().items() if state == "running"}
    assert len(broken) <= 1
    assert list(sweep.states().values()).count("pending") >= 3
    sweep.finish("--inline")
    assert_same_table(sweep, undisturbed)
    assert_no_step_was_wasted(sweep, broken)


@pytest.mark.slow
def test_sweep_on_ray_killed_twice_ends_in_the_same_table(tmp_path, undisturbed):
    sweep = Sweep(tmp_path, load_seconds=0.05)
    disturbed = set()
    for done in (2, 5):
        process = sweep.start()
        sweep.wait_for(process, done=done, running=1)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        disturbed |= {trial for trial, state in sweep.states().items() if state == "running"}
    sweep.finish()
    assert_same_table(sweep, undisturbed)
    assert disturbed
    assert_no_step_was_wasted(sweep, disturbed)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_sweep_on_ray_leaves_checkpoints(tmp_path, undisturbed, number):
    sweep = Sweep(tmp_path, load_seconds=0.1)
    process = sweep.start()
    sweep.wait_for(process, done=1, running=1)
    time.sleep(1)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, errors.decode()[-3000:]
    assert b"the same command goes on from there" in errors
    states = sweep.states()
    assert "running" not in states.values()
    assert list(states.values()).count("done") < 8
    begun = set(sweep.runs())
    sweep.finish()
    assert begun <= set(sweep.runs())
    assert_same_table(sweep, undisturbed)
    trials = find_sweep(sweep.storage, "killed").trials()
    for trial in trials:
        lines = read_lines(find_run(sweep.storage, trial.run))
        steps = [line["total_step"] for line in lines if line["kind"] == "train"]
        assert steps == sorted(set(steps))
