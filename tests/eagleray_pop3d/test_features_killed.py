"""The stages of key frames and features, killed at random moments: the same bytes in the end,
codebook included.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.eagleray.stages import tree
from tests.eagleray_pop3d.features_job import prepare
from tests.eagleray_pop3d.test_data_stages import write_frame

ROOT = Path(__file__).resolve().parents[2]
NUM_FRAMES, PATIENCE_S = 20, 200


def start(rig, storage):
    command = [sys.executable, "-m", "tests.eagleray_pop3d.features_job", str(rig), str(storage)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def wait_for_markers(job, storage, count):
    end = time.monotonic() + PATIENCE_S
    while len(list(storage.rglob("markers/*.json"))) < count and job.poll() is None:
        assert time.monotonic() < end, "the job does not get on"
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_stages_end_in_the_same_bytes(tmp_path):
    rig, moments, kills = tmp_path / "rig", random.Random(0), 0
    rig.mkdir()
    for number in range(NUM_FRAMES):
        write_frame(rig, number)
    prepare(rig, tmp_path / "undisturbed")
    undisturbed = tree(tmp_path / "undisturbed")
    assert any("fit" in name for name in undisturbed)
    storage = tmp_path / "killed"
    # among the key frames, at their end (where the codebook is fitted), and among the features
    for count in (3, NUM_FRAMES, NUM_FRAMES + 4, NUM_FRAMES + 11):
        job = start(rig, storage)
        wait_for_markers(job, storage, count)
        if job.poll() is None:
            time.sleep(moments.uniform(0, 0.15))
            job.send_signal(signal.SIGKILL)
            kills += 1
            assert tree(storage) != undisturbed
        job.communicate(timeout=PATIENCE_S)
    assert kills >= 3
    job = start(rig, storage)
    errors = job.communicate(timeout=PATIENCE_S)[1]
    assert job.returncode == 0, errors.decode()[-3000:]
    assert tree(storage) == undisturbed
