"""One Ray for the whole test run, on this machine alone; most tests need none."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).resolve().parents[1]

for name, value in {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(name, value)
os.environ.pop("RAY_ADDRESS", None)
# A shell starts background jobs with Ctrl-C ignored, and children inherit that; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

SOURCE_ROOTS = [str(ROOT / top) for top in ("platform", "tasks", "cuda_ops", "tests/installed")]
SOURCE_ROOTS.append(str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(
    dict.fromkeys(
        [*SOURCE_ROOTS, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    )
)
sys.path[:0] = [path for path in SOURCE_ROOTS if path not in sys.path]


class OneRayScheduling(LoadFileScheduling):
    """Give whole files to a process, and all files that need Ray to one: it is started once.

    Parity modules look at their end at which keys the whole file has read, so files stay whole.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "ray" if "ray_cluster" in (ROOT / file).read_text() else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneRayScheduling:
    return OneRayScheduling(config, log)


@pytest.fixture(scope="session")
def ray_cluster():
    """Start Ray once; workers import test modules as ``tests.<package>.<module>``."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=300_000_000,
        _temp_dir=tempfile.mkdtemp(prefix="ray-"),
    )
    yield ray
    # Ray waits for its processes without a limit; they end with this one at the latest.
    shutdown = threading.Thread(target=ray.shutdown, daemon=True)
    shutdown.start()
    shutdown.join(timeout=120)
