"""Prediction jobs killed in the middle, inline and on Ray's workers: the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.eagleray.predict.test_driver import predict, tree, write_numbers

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180

_JOB = """
import sys, time
from pathlib import Path
from tests.eagleray.predict.double_task import DoubleTask
from tests.eagleray.predict.test_driver import predict
class Slow(DoubleTask):
    def predict(self, model, samples):
        time.sleep(0.05)
        return super().predict(model, samples)
sys.modules["tests.eagleray.predict.test_driver"].DoubleTask = Slow
predict(Path(sys.argv[1]), Path(sys.argv[2]), inline=sys.argv[3] == "inline")
"""


def start(folder, numbers, how):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    arguments = [sys.executable, "-c", _JOB, str(folder), str(numbers), how]
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["inline", "ray"])
def test_killed_job_ends_in_the_same_bytes(tmp_path, how):
    numbers = write_numbers(tmp_path / "in", 60)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    predict(tmp_path / "whole", numbers)
    expected = tree(tmp_path / "whole" / "out")
    kills = 0
    for exports in (5, 25):
        job = start(tmp_path / "killed", numbers, how)
        end = time.monotonic() + PATIENCE_S
        text = tmp_path / "killed" / "out" / "text"
        while len(list(text.rglob("*.txt"))) < exports and job.poll() is None:
            assert time.monotonic() < end, "the job does not get on"
            time.sleep(0.01)
        if job.poll() is None:
            job.send_signal(signal.SIGKILL)
            kills += 1
        job.communicate(timeout=PATIENCE_S)
        assert kills == 0 or tree(tmp_path / "killed" / "out") != expected
    job = start(tmp_path / "killed", numbers, how)
    errors = job.communicate(timeout=PATIENCE_S)[1]
    assert job.returncode == 0, errors.decode()[-3000:]
    assert kills >= 1
    assert tree(tmp_path / "killed" / "out") == expected
