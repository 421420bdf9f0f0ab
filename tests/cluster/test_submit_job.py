"""A real job on a real (small) Ray head of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from eagleray.cli import main
from eagleray.scheduling.jobs import ClusterJobs

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope="module")
def head():
    if not (BIN / "ray").exists() or not (BIN / "eagleray").exists():
        pytest.skip("the commands ray and eagleray are not installed beside this Python")
    port, dashboard, agent = free_ports(3)
    folder = tempfile.mkdtemp(prefix="head-")
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--port={port}", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", "--num-cpus=2"),
        *("--object-store-memory=200000000", f"--temp-dir={folder}"),
    ]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{dashboard}"
    ClusterJobs(address, ready_s=240)  # a busy machine takes its time
    yield address
    process.terminate()
    process.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def street(tmp_path):
    path = tmp_path / "street.yaml"
    path.write_text((ROOT / "experiments/toyworld/street.yaml").read_text())
    return path


def submit(head, path, storage, *arguments):
    command = ["submit", str(path), "--address", head, "--verb", "prepare"]
    return main.run([*command, "--storage", str(storage), *arguments])


def test_a_job_prepares_and_tells_its_exit_status(head, street, tmp_path, capsys):
    assert submit(head, street, tmp_path / "s", "--settings.scenes", "2") == 0
    assert "workers on cpu" in capsys.readouterr().out
    assert list((tmp_path / "s/prepared").rglob("manifest/*.json"))
    assert submit(head, street, tmp_path / "t", "--prepare.workers", "400") == 1
    assert "400 worker(s)" in capsys.readouterr().out


def test_the_source_code_travels_along(head, street, tmp_path):
    assert submit(head, street, tmp_path / "s", "--ship-code", "--settings.scenes", "2") == 0


def test_a_job_that_is_not_followed_can_be_followed_later(head, street, tmp_path, capsys):
    assert submit(head, street, tmp_path / "s", "--no-wait", "--settings.scenes", "2") == 0
    job = capsys.readouterr().out.split()[1]
    said = []
    assert ClusterJobs(head).follow(job, said.append) == 0
    assert any("workers on cpu" in text for text in said)
