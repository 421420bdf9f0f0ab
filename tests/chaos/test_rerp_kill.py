"""RERP is killed while it distorts, and goes on: the same images, to the byte, as undisturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.chaos.rerp_job import prepare
from tests.eagleray.stages import tree
from tests.eagleray_ops.small_data import write_coco

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240
NUM_IMAGES = 60


def start(folder: Path, images: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.chaos.rerp_job", str(folder), str(images), *flags]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)


def num_markers(folder: Path) -> int:
    return len(list(folder.rglob("markers/*.json")))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("inline",), ()], ids=["inline", "ray"])
def test_a_killed_rerp_goes_on_to_the_same_bytes(tmp_path, flags):
    write_coco(tmp_path / "coco", "train2017", NUM_IMAGES)
    prepare(tmp_path / "undisturbed", tmp_path, inline=True)
    undisturbed = tree(tmp_path / "undisturbed")
    assert any(b"\xff\xd8\xff" in content for content in undisturbed.values())
    folder = tmp_path / "killed"
    job = start(folder, tmp_path, *flags)
    end = time.monotonic() + PATIENCE_S
    # every shard of labels is done, and some of the distorted ones
    while num_markers(folder) < NUM_IMAGES // 2 + 3 and job.poll() is None:
        assert time.monotonic() < end, "the job does not get on"
        time.sleep(0.005)
    assert job.poll() is None, job.communicate()[1].decode()[-3000:]
    os.killpg(job.pid, signal.SIGKILL)
    job.wait(PATIENCE_S)
    assert tree(folder) != undisturbed
    again = start(folder, tmp_path, *flags)
    errors = again.communicate(timeout=PATIENCE_S)[1]
    assert again.returncode == 0, errors.decode()[-3000:]
    assert tree(folder) == undisturbed
