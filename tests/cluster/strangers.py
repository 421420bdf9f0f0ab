"""A Ray cluster on one machine whose nodes share nothing but the network: each has mounts,
processes and a host name of its own (``unshare``); temporary folder, shared memory and home are its
own.

The head runs as it does on real clusters: ``ray start --head --block``, with tokens, without CPUs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.object_store import free_ports
from tests.cluster.slow_squares import NODE
from tests.conftest import ROOT, SOURCE_ROOTS

BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
_STORE_BYTES = "100000000"
_PATIENCE_S = 400
_STARTED = "Ray runtime started."
_AGENT_PORTS = (
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)

_UNSHARE = ("unshare", "--mount", "--uts", "--pid", "--mount-proc", "--kill-child")
"""With the command, all of its processes die, wherever they have gone."""
_OWN_MOUNTS = """
set -e
mount --make-rprivate /
hostname "$1"; own=$2; shift 2
for seen in "$@"; do
  [ "$seen" = -- ] && break
  case "$seen" in /tmp/*) mkdir -p "$own/tmp${seen#/tmp}"
    mount --rbind "$seen" "$own/tmp${seen#/tmp}";; esac
done
while [ "$1" != -- ]; do shift; done; shift
mount --rbind "$own/tmp" /tmp
mount -t tmpfs tmpfs /dev/shm
exec "$@"
"""
"""Gives a command folders of its own, in which it sees but what is named before ``--``."""


def why_not() -> str:
    """Return why this machine cannot run strangers; empty where it can."""
    if not (BIN / "ray").exists() or not (BIN / "eagleray").exists():
        return "the commands ray and eagleray are not installed beside this Python"
    if shutil.which("unshare") is None:
        return "there is no unshare"
    if subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode:
        return "this user may not make mounts and processes of its own (unshare)"
    return ""


class Strangers:
    """A head and its nodes.

    Args:
        folder: Kept for the whole time; logs and the nodes' folders lie in it.
        environment: Variables of all nodes.

    Attributes:
        address: The job server.
        token: What it asks for.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self.token = folder, secrets.token_hex(32)
        self._port, dashboard = free_ports(2)
        self.address = f"http://{HOST}:{dashboard}"
        self._environment = _clean(os.environ) | {
            **dict(environment),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([*SOURCE_ROOTS, str(ROOT / "tests/cluster/installed")]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            # a busy machine takes its time
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
            "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "300",
            "RAY_agent_register_timeout_ms": "300000",
            "RAY_worker_register_timeout_seconds": "300",
            "RAY_health_check_initial_delay_ms": "5000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "8",
        }
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        ports = f"--port={self._port}", f"--dashboard-port={dashboard}"
        self._begin("head", "--head", *ports, "--num-cpus=0")

    @property
    def client_environment(self) -> dict[str, str]:
        """What a command beside the cluster needs to send jobs there, but for S3."""
        return dict(self._environment)

    def add(self, name: str, cpus: int = 1) -> None:
        """Start a node, and wait until it is there."""
        self._begin(name, f"--address={HOST}:{self._port}", f"--num-cpus={cpus}")

    def kill(self, name: str) -> None:
        """Lose a node: all of its processes die at once."""
        process = self.nodes.pop(name)
        process.kill()
        process.wait(60)

    def own(self, name: str) -> Path:
        """Return what is the folder ``/tmp`` for a node, as this process sees it."""
        return self._folder / name / "tmp"

    def logs(self) -> str:
        """Return what Ray says on all nodes."""
        return "\n".join(f"{p.stem}: {p.read_text()}" for p in self._folder.glob("*.log"))

    def close(self) -> None:
        """End all nodes, the head last."""
        for name in reversed(list(self.nodes)):
            self.kill(name)

    def _begin(self, name: str, *arguments: str) -> None:
        """Start a node, again where the machine is so busy that Ray's own 30 s do not suffice."""
        for is_last in (False, False, True):
            self._start(name, *arguments)
            try:
                self._await(name)
            except RuntimeError:
                if is_last:
                    raise
            else:
                return

    def _await(self, name: str) -> None:
        log = self._folder / f"{name}.log"
        end = time.monotonic() + _PATIENCE_S
        while _STARTED not in log.read_text():
            if self.nodes[name].poll() is not None or time.monotonic() > end:
                text = log.read_text()
                self.kill(name)
                raise RuntimeError(f"node {name} does not start: {text}")
            time.sleep(0.2)

    def _start(self, name: str, *arguments: str) -> None:
        own = self._folder / name
        for part in ("tmp/home", "tmp/ray"):
            (own / part).mkdir(parents=True, exist_ok=True)
        seen = [str(ROOT), sys.prefix, sys.base_prefix]
        # A raylet waits 15 s for agents to say which ports they have chosen, and then dies.
        ports = dict(zip(_AGENT_PORTS, free_ports(len(_AGENT_PORTS)), strict=True))
        command = [
            *(*_UNSHARE, "sh", "-c", _OWN_MOUNTS, "sh", name, str(own), *seen, "--"),
            *(
                str(BIN / "ray"),
                "start",
                "--block",
                "--disable-usage-stats",
                "--include-log-monitor=false",
            ),
            *(f"--object-store-memory={_STORE_BYTES}", "--temp-dir=/tmp/ray", *arguments),
            *(f"--{port}={number}" for port, number in ports.items()),
        ]
        with (self._folder / f"{name}.log").open("wb") as log:
            self.nodes[name] = subprocess.Popen(
                command,
                env={**self._environment, "HOME": "/tmp/home", NODE: name},
                cwd="/",
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if not k.startswith(("RAY_", "AWS_", "EAGLERAY_"))}


@contextmanager
def strangers(environment: Mapping[str, str], *nodes: str) -> Iterator[Strangers]:
    """Run a head and nodes with one CPU each, until the ``with`` statement ends."""
    folder = Path(tempfile.mkdtemp(prefix="strangers-"))
    try:
        cluster = Strangers(folder, environment)
        try:
            for name in nodes:
                cluster.add(name)
            yield cluster
        finally:
            cluster.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def eagleray(
    cluster: Strangers, *arguments: str, timeout_s: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command beside the cluster, and return what it said."""
    return subprocess.run(
        [str(BIN / "eagleray"), *arguments],
        env={**cluster.client_environment, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
