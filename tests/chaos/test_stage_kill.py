"""RERP and CLIP's features are killed on the way, and go on: the same bytes as undisturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.chaos.stage_job import STAGES, WRITERS, prepare
from tests.eagleray.stages import tree

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240
NUM_IMAGES = 60
SOME_SHARDS = 3


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.chaos.stage_job", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)


def num_markers(folder: Path, stage: str) -> int:
    return len(list(folder.rglob(f"{stage}/**/markers/*.json")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize("flags", [("inline",), ()], ids=["inline", "ray"])
def test_a_killed_stage_goes_on_to_the_same_bytes(tmp_path, kind, flags):
    WRITERS[kind](tmp_path, NUM_IMAGES)
    prepare(kind, tmp_path / "undisturbed", tmp_path, inline=True)
    undisturbed = tree(tmp_path / "undisturbed")
    last = STAGES[kind](tmp_path)[-1].name
    assert num_markers(tmp_path / "undisturbed", last) > 2 * SOME_SHARDS
    folder = tmp_path / "killed"
    arguments = (kind, str(folder), str(tmp_path), *flags)
    job = start(*arguments)
    end = time.monotonic() + PATIENCE_S
    while num_markers(folder, last) < SOME_SHARDS and job.poll() is None:
        assert time.monotonic() < end, "the job does not get on"
        time.sleep(0.005)
    assert job.poll() is None, job.communicate()[1].decode()[-3000:]
    os.killpg(job.pid, signal.SIGKILL)
    job.wait(PATIENCE_S)
    assert tree(folder) != undisturbed
    again = start(*arguments)
    errors = again.communicate(timeout=PATIENCE_S)[1]
    assert again.returncode == 0, errors.decode()[-3000:]
    assert tree(folder) == undisturbed
