"""A Ray that the engine starts lets nobody in without its token, by neither of its doors."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from eagleray.scheduling import session

_SESSION = """
import sys
import ray
from eagleray.scheduling import ray_session

with ray_session(num_cpus=1, dashboard=True):
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.readline()
"""

_STRANGER = "import ray; ray.init(address={address!r}, logging_level='ERROR'); print('joined')"


@pytest.fixture(scope="module")
def running():
    """A session of a user who set nothing about tokens: its addresses, as a stranger sees them."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    child = subprocess.Popen(
        [sys.executable, "-c", _SESSION],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    address = child.stdout.readline().strip()
    assert address, "the session did not start"
    yield address, child.pid, environment
    child.communicate("\n", timeout=120)


@pytest.mark.parametrize("mode", [None, pytest.param("disabled", marks=pytest.mark.slow)])
def test_a_stranger_cannot_join(running, mode, tmp_path):
    address, _, environment = running
    stranger = environment | {"HOME": str(tmp_path)} | ({"RAY_AUTH_MODE": mode} if mode else {})
    command = [sys.executable, "-c", _STRANGER.format(address=address)]
    done = subprocess.run(command, env=stranger, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "joined" not in done.stdout


def listening_ports(pid):
    """Return the TCP ports that a process and its descendants listen at."""
    process = psutil.Process(pid)
    ports = set()
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            listening = (c for c in one.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
            ports |= {c.laddr.port for c in listening}
    return ports


def answer_of(url):
    """Return the status with which a URL answers a stranger's job; 0 where nothing speaks HTTP."""
    request = urllib.request.Request(
        url,
        data=json.dumps({"entrypoint": "true"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def test_a_stranger_cannot_submit_a_job(running):
    """The dashboard and the agent of each node take jobs over HTTP; no port may do so unasked."""
    address, pid, _ = running
    urls = [
        f"http://{host}:{port}{path}"
        for port in listening_ports(pid)
        for host in ("127.0.0.1", address.rpartition(":")[0])
        for path in ("/api/job_agent/jobs/", "/api/jobs/")
    ]
    with ThreadPoolExecutor(len(urls)) as pool:  # most ports are no HTTP and never answer
        answers = dict(zip(urls, pool.map(answer_of, urls), strict=True))
    assert {401, 403} & set(answers.values()), answers
    assert not [url for url, status in answers.items() if 0 < status < 400]


def test_a_token_is_made_where_the_user_says_nothing(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    session._ask_for_tokens()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    first = os.environ["RAY_AUTH_TOKEN"]
    session._ask_for_tokens()
    assert os.environ["RAY_AUTH_TOKEN"] == first
    monkeypatch.delenv("RAY_AUTH_TOKEN")


def test_switching_tokens_off_is_said_aloud(monkeypatch, caplog):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    caplog.set_level("WARNING", logger="eagleray")
    session._ask_for_tokens()
    assert "run code as you" in caplog.text
    assert "RAY_AUTH_TOKEN" not in os.environ
