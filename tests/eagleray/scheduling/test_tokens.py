"""A Ray that the engine starts lets nobody in without its token, by neither of its doors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from eagleray.scheduling import session

_SESSION = """
import sys
import ray
from eagleray.scheduling import ray_session

with ray_session(num_cpus=1, dashboard=True):
    address = ray.get_runtime_context().gcs_address
    agents = [n["NodeManagerAddress"] for n in ray.nodes()]
    from ray._private.worker import global_worker
    print(address, global_worker.node.dashboard_agent_listen_port, flush=True)
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
    line = child.stdout.readline().split()
    assert line, "the session did not start"
    yield line[0], int(line[1]), environment
    child.communicate("\n", timeout=120)


@pytest.mark.parametrize("mode", [None, "disabled"])
def test_a_stranger_cannot_join(running, mode, tmp_path):
    address, _, environment = running
    stranger = environment | {"HOME": str(tmp_path)} | ({"RAY_AUTH_MODE": mode} if mode else {})
    command = [sys.executable, "-c", _STRANGER.format(address=address)]
    done = subprocess.run(command, env=stranger, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "joined" not in done.stdout


def test_a_stranger_cannot_submit_a_job(running):
    address, port, _ = running
    for host in {"127.0.0.1", address.rpartition(":")[0]}:
        request = urllib.request.Request(
            f"http://{host}:{port}/api/job_agent/jobs/",
            data=json.dumps({"entrypoint": "true"}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code in (401, 403)


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
    session._ask_for_tokens()
    assert "run code as you" in caplog.text
    assert "RAY_AUTH_TOKEN" not in os.environ
