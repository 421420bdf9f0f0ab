"""Storage that really is read-only (a bind mount): what is done is shown, planned, evaluated and
used; what would have to be computed is refused by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import sixth_task
from tests.conftest import ROOT, SOURCE_ROOTS

import eagleray.api
from eagleray.cli import main
from eagleray.experiment import load

_COMMANDS = """
import json, sys
import eagleray.api
from tests import sixth_task
from eagleray.cli import main
from eagleray.experiment import load
for module in (load, eagleray.api):
    module.task_type = lambda name: sixth_task.SquareTask
print("STATUS", json.dumps([main.run(arguments) for arguments in json.loads(sys.argv[1])]))
"""
_MOUNT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def mounted(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees the folder as read-only."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCE_ROOTS)}
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", _MOUNT, str(folder), *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """A finished run in a folder of its own; skips where nothing may be mounted."""
    storage = tmp_path / "s"
    storage.mkdir()
    try:
        if mounted(storage, "true").returncode:
            pytest.skip("this user may not mount")
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: sixth_task.SquareTask)
    path = tmp_path / "six.yaml"
    path.write_text(f"task: squares\nstorage: {storage}\nsettings: {{steps: 4, count: 8}}\n")
    assert main.run(["run", str(path), "--inline"]) == 0
    return path


def test_what_is_done_is_used_and_the_rest_is_refused(experiment, tmp_path):
    storage = tmp_path / "s"
    before = {p: p.read_bytes() for p in storage.rglob("*") if p.is_file()}
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps([[0, 1] * 3] * 6))
    verbs = {
        "show": ["show", "--storage", str(storage)],
        "plan": ["plan", str(experiment)],
        "prepare": ["prepare", str(experiment), "--inline"],
        "evaluate": ["evaluate", str(experiment), "--inline"],
        "predict": ["predict", str(experiment), str(mine), "--inline", "--output"],
        "new data": ["prepare", str(experiment), "--inline", "--settings.noise", "0.9"],
    }
    verbs["predict"].append(str(tmp_path / "out"))
    done = mounted(storage, sys.executable, "-c", _COMMANDS, json.dumps(list(verbs.values())))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("STATUS")]
    status = dict(zip(verbs, json.loads(line.removeprefix("STATUS ")), strict=True))
    assert status == dict.fromkeys(verbs, 0) | {"new data": 1}, done.stderr[-2000:]
    assert "Read-only file system): check that the folder is writable" in done.stderr
    assert "Traceback" not in done.stderr and "other code" not in done.stderr
    assert before == {p: p.read_bytes() for p in storage.rglob("*") if p.is_file()}
    assert (tmp_path / "out" / "mine.json").is_file()
