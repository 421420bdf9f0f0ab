"""Nodes that share nothing but the network and an S3, driven by ``eagleray submit``: what comes out
is what one process gives, whatever is lost on the way.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from tests.cluster.object_store import BUCKET, ObjectStore
from tests.cluster.strangers import BIN, Strangers, eagleray, strangers, why_not
from tests.conftest import ROOT, SOURCE_ROOTS

from eagleray.storage import Store

pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto.server", reason="moto is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE_S = 600
EXPERIMENT = {
    "task": "slow_squares",
    "name": "squares",
    "settings": {"count": 32, "steps": 20},
    "prepare": {"items_per_shard": 4},
    "train": {"strategy": "ddp", "num_workers": 2, "checkpoint_every": 5, "log_every": 1},
}
LOSS_TOLERANCE = 1e-4
"""Two workers add gradients up in another order than one does; a wrong sample changes the third
digit of these losses."""


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.close()


@pytest.fixture(scope="module")
def cluster(object_store: ObjectStore) -> Iterator[Strangers]:
    if reason := why_not():
        pytest.skip(reason)
    with strangers(object_store.environment, "a", "b") as nodes:
        yield nodes


@pytest.fixture(autouse=True)
def working_store(object_store: ObjectStore, monkeypatch: Any) -> Iterator[None]:
    """Begin each test with an S3 that works and that this process finds."""
    import s3fs

    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    object_store.control()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def two_nodes(cluster: Strangers) -> Strangers:
    """Give a cluster of the nodes a and b."""
    for name in ("a", "b"):
        if name not in cluster.nodes:
            cluster.add(name)
    return cluster


class Submitted:
    """A job on the cluster.

    Args:
        cluster: The cluster.
        store: Its S3.
        folder: Where the experiment is written.
        storage: Name of a storage of its own.
        verb: What it does.
        **settings: What differs from ``EXPERIMENT``, by section.
    """

    def __init__(
        self,
        cluster: Strangers,
        store: ObjectStore,
        folder: Path,
        storage: str,
        verb: str = "run",
        **settings: Any,
    ) -> None:
        self._cluster = cluster
        path = write(folder, settings)
        variables = [x for k, v in store.environment.items() for x in ("--env", f"{k}={v}")]
        self.storage = Store(f"s3://{BUCKET}/{storage}")
        said = self._ask(
            *("submit", str(path), "--verb", verb, "--no-wait", "--storage", self.storage.uri),
            *variables,
        )
        self.id = said.split()[1]

    def _ask(self, *arguments: str) -> str:
        done = eagleray(self._cluster, *arguments, "--address", self._cluster.address)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def status(self) -> str:
        """What has become of it."""
        return self._ask("submit", "status", self.id).split()[1]

    @property
    def said(self) -> str:
        """What it has said."""
        return self._ask("submit", "logs", self.id)

    def wait(self, status: str = "SUCCEEDED") -> str:
        """Wait until it has ended, and so; return what it has said."""
        done = eagleray(
            self._cluster,
            *("submit", "logs", self.id, "--follow", "--address", self._cluster.address),
            timeout_s=PATIENCE_S,
        )
        assert self.status == status, done.stdout[-5000:] + done.stderr[-2000:]
        return done.stdout

    def stop(self) -> None:
        """Have it stop, and wait."""
        self._ask("submit", "stop", self.id)

    def until(self, pattern: str, count: int) -> None:
        """Wait until the storage holds so many files whose path has ``pattern`` in it."""
        end = time.monotonic() + PATIENCE_S
        while sum(pattern in path for path in self.storage.files(recursive=True)) < count:
            assert time.monotonic() < end and self.status in ("PENDING", "RUNNING"), self.said
            time.sleep(0.5)


def write(folder: Path, settings: dict[str, Any]) -> Path:
    """Write an experiment that differs from ``EXPERIMENT`` in some settings."""
    whole = {k: {**v, **settings.get(k, {})} if isinstance(v, dict) else v
             for k, v in EXPERIMENT.items()}  # fmt: skip
    path = folder / "squares.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def in_one_process(folder: Path, storage: str, **settings: Any) -> Store:
    """Run an experiment in one process, without Ray; return its storage."""
    done = subprocess.run(
        [
            *(str(BIN / "eagleray"), "run", str(write(folder, settings)), "--inline"),
            *("--storage", storage),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*SOURCE_ROOTS, str(ROOT / "tests/cluster/installed")]),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Store(storage)


def on_the_laptop(folder: Path, **settings: Any) -> Store:
    """Run an experiment in one process on a local disk; return its storage."""
    return in_one_process(folder, str(folder / "laptop"), **settings)


def prepared(storage: Store) -> dict[str, bytes]:
    """Return all prepared files but logs, which tell times."""
    paths = [p for p in storage.files("prepared", recursive=True) if "/log/" not in p]
    return {path: storage.read(path) for path in paths}


def losses(storage: Store) -> dict[int, float]:
    """Return the loss of each step of the only run; the highest attempt counts."""
    paths = [p for p in storage.files("runs", recursive=True) if "/metrics/" in p]
    lines = [json.loads(line) for path in paths for line in storage.read(path).splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}


def accuracy(storage: Store) -> float:
    """Return what the only run's evaluation found."""
    (path,) = (p for p in storage.files("runs", recursive=True) if p.endswith("val/best.json"))
    value: float = json.loads(storage.read(path))["values"]["accuracy"]
    return value


def nodes_of_ranks(storage: Store) -> list[str]:
    """Return on which nodes ranks began, by the log of each rank and start."""
    logs = [p for p in storage.files("runs", recursive=True) if p.endswith(".log")]
    texts = [storage.read(path).decode() for path in logs]
    return [text.split("trains on node ")[1].split()[0] for text in texts if "on node" in text]


def assert_same(storage: Store, laptop: Store) -> None:
    """Compare what a job left with what one process gives."""
    assert prepared(storage) == prepared(laptop)
    assert losses(storage) == pytest.approx(losses(laptop), abs=LOSS_TOLERANCE)
    assert accuracy(storage) == accuracy(laptop)


def test_strangers_give_what_the_laptop_gives(two_nodes, object_store, tmp_path):
    job = Submitted(two_nodes, object_store, tmp_path, "plain")
    job.wait()
    assert sorted(nodes_of_ranks(job.storage)) == ["a", "b"]
    assert_same(job.storage, on_the_laptop(tmp_path))


def test_a_wrong_token_is_refused(cluster):
    listing = ("submit", "list", "--address", cluster.address)
    done = eagleray(cluster, *listing, RAY_AUTH_TOKEN="0" * 64)
    assert done.returncode == 1 and "does not take this token" in done.stderr
    assert eagleray(cluster, *listing).returncode == 0


def test_one_request_in_five_fails_one_process_and_nothing_changes(object_store, tmp_path):
    object_store.control(failing=0.2)
    storage = in_one_process(tmp_path, f"s3://{BUCKET}/alone")
    counts = object_store.control()
    assert all(counts.values()) and 5 * counts["answered"] > sum(counts.values()) * 3
    assert_same(storage, on_the_laptop(tmp_path))


def test_one_request_in_five_fails_and_nothing_changes(two_nodes, object_store, tmp_path):
    object_store.control(failing=0.2)
    job = Submitted(two_nodes, object_store, tmp_path, "failing")
    job.wait()
    counts = object_store.control()
    failed = sum(counts.values()) - counts["answered"]
    assert all(counts.values()) and failed > 0.1 * counts["answered"]
    assert_same(job.storage, on_the_laptop(tmp_path))


def test_a_node_that_dies_while_stages_run_changes_no_byte(two_nodes, object_store, tmp_path):
    slow = {"item_s": 0.5}
    job = Submitted(two_nodes, object_store, tmp_path, "lost", "prepare", settings=slow)
    job.until("/markers/", 3)
    two_nodes.kill("b")
    job.wait()
    assert prepared(job.storage) == prepared(on_the_laptop(tmp_path))


def test_a_node_that_dies_in_training_changes_no_loss(two_nodes, object_store, tmp_path):
    slow, elastic = {"step_s": 1.0}, {"num_workers": [1, 2]}
    job = Submitted(two_nodes, object_store, tmp_path, "shrunk", settings=slow, train=elastic)
    job.until("/checkpoints/main-00000005.json", 1)
    two_nodes.kill("b")
    job.until("/checkpoints/main-00000010.json", 1)
    two_nodes.add("c")
    job.wait()
    laptop = on_the_laptop(tmp_path)
    assert losses(job.storage) == pytest.approx(losses(laptop), rel=0.01)
    assert accuracy(job.storage) == accuracy(laptop)
    two_nodes.kill("c")


def test_a_stopped_job_leaves_a_checkpoint(two_nodes, object_store, tmp_path):
    slow, rare = {"step_s": 10.0}, {"checkpoint_every": 1000}
    job = Submitted(two_nodes, object_store, tmp_path, "stopped", settings=slow, train=rare)
    job.until("/log/live.json", 1)
    job.stop()
    assert job.status == "STOPPED"
    checkpoints = (m for m in job.storage.files("runs", recursive=True) if "/checkpoints/" in m)
    markers = [m for m in checkpoints if PurePosixPath(m).parent.name == "checkpoints"]
    assert len(markers) == 1
    assert 0 < json.loads(job.storage.read(markers[0]))["step"] < 20
