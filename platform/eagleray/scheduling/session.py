"""Starts or joins Ray exactly once per process (platform-facts 1.1)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}
"""Set before Ray is imported, where the user has not set them."""

_LOCAL_ENVIRONMENT = {"RAY_AUTH_MODE": "disabled"}
"""For a Ray that only this process uses; a cluster keeps its tokens."""

_QUIET_LOGGERS = ("ray.data", "ray.data._internal", "ray.train", "ray.tune")


@contextmanager
def ray_session(num_cpus: int | None = None) -> Iterator[None]:
    """Have Ray running inside the ``with`` statement.

    An initialized Ray is used as it is and left running. Else the cluster in the environment variable RAY_ADDRESS
    is joined, or a local one started without dashboard; either is left at the end.

    Args:
        num_cpus: Logical CPUs of a local Ray; by default the machine's. Ignored where a Ray is joined.
    """
    address = os.environ.get("RAY_ADDRESS")
    for name, value in (_ENVIRONMENT | ({} if address else _LOCAL_ENVIRONMENT)).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        silence_ray()
        yield
        return
    if address:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    else:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,
        )
    silence_ray()
    try:
        yield
    finally:
        ray.shutdown()


def silence_ray() -> None:
    """Keep Ray's libraries from writing between our own progress lines; errors still come through."""
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in _QUIET_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.ERROR)
        for handler in logger.handlers:
            handler.setLevel(logging.ERROR)
