"""Processes killed at any moment: the same command again ends in the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.chaos.prepare_job import prepare
from tests.eagleray.stages import Squares, run, tree

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120


class Job:
    """The driver in a process of its own."""

    def __init__(self, folder, marks, *flags):
        self._folder = folder
        marks.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.chaos.prepare_job", str(folder), str(marks), *flags]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
        )

    def num_markers(self):
        return len(list(self._folder.rglob("markers/*.json")))

    def wait_for_markers(self, count):
        """Wait until so many shards are done; returns False if the job ended before."""
        end = time.monotonic() + PATIENCE_S
        while self.num_markers() < count and self.process.poll() is None:
            assert time.monotonic() < end, "the job does not get on"
            time.sleep(0.005)
        return self.process.poll() is None

    def send(self, signal_number):
        self.process.send_signal(signal_number)
        self.process.wait(PATIENCE_S)

    def finish(self):
        errors = self.process.communicate(timeout=PATIENCE_S)[1]
        assert self.process.returncode == 0, errors.decode()[-3000:]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    prepare(folder, None, inline=True)
    return tree(folder)


def test_killing_the_driver_again_and_again_ends_in_the_same_bytes(tmp_path, undisturbed):
    moments = random.Random(0)
    kills = 0
    for at_least in (1, 8, 15):
        job = Job(tmp_path / "s", tmp_path / "marks", "inline")
        if job.wait_for_markers(at_least):
            time.sleep(moments.uniform(0, 0.2))
            job.send(signal.SIGKILL)
            kills += 1
            assert tree(tmp_path / "s") != undisturbed
    Job(tmp_path / "s", tmp_path / "marks", "inline").finish()
    assert kills >= 2
    assert tree(tmp_path / "s") == undisturbed


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def worker_pids(marks):
    return [int(path.name[4:]) for path in marks.glob("pid-*")]


def wait_until_gone(pids):
    end = time.monotonic() + PATIENCE_S
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, f"still alive: {[p for p in pids if alive(p)]}"
        time.sleep(0.1)


@pytest.mark.slow
def test_killing_a_worker_and_then_the_driver_ends_in_the_same_bytes(tmp_path, undisturbed):
    marks = tmp_path / "marks"
    job = Job(tmp_path / "s", marks)
    assert job.wait_for_markers(2)
    os.kill(worker_pids(marks)[0], signal.SIGKILL)
    assert job.wait_for_markers(6), "the job goes on without that worker"
    job.send(signal.SIGKILL)
    wait_until_gone(worker_pids(marks))
    assert tree(tmp_path / "s") != undisturbed
    Job(tmp_path / "s", marks).finish()
    assert tree(tmp_path / "s") == undisturbed


@pytest.mark.parametrize(
    "flags",
    [pytest.param(("inline",), id="inline"), pytest.param((), id="ray", marks=pytest.mark.slow)],
)
def test_ctrl_c_ends_the_job_and_its_workers(tmp_path, flags):
    marks = tmp_path / "marks"
    job = Job(tmp_path / "s", marks, *flags)
    assert job.wait_for_markers(2)
    begin = time.monotonic()
    os.killpg(job.process.pid, signal.SIGINT)  # as a terminal does
    job.process.wait(PATIENCE_S)
    assert time.monotonic() - begin < 20
    assert b"KeyboardInterrupt" in job.process.stderr.read()
    wait_until_gone(worker_pids(marks))
    assert not list((tmp_path / "s").rglob("manifest/*.json"))


_DEADLY = """
import sys
from pathlib import Path
from tests.eagleray.stages import Squares, run
run(Squares(16, deadly=[5]), Path(sys.argv[1]), inline=False, items_per_shard=4)
"""


@pytest.mark.slow
def test_an_item_that_kills_a_short_job_kills_it_once_and_is_a_reject_of_workers(tmp_path):
    command = [sys.executable, "-c", _DEADLY, str(tmp_path)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE_S)
    assert first.returncode == -signal.SIGKILL, "short work runs in the driver"
    again = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=2 * PATIENCE_S)
    assert again.returncode == 0, again.stderr.decode()[-3000:]
    summary, _ = run(Squares(16, deadly=[5]), tmp_path, items_per_shard=4)
    assert [key for key, _ in summary.rejects] == ["n00005"] and summary.computed_shards == 0
