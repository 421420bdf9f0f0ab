"""Starts or joins Ray exactly once per process.

Ray's control store, its raylet and its job agent listen on all addresses of the machine, and
whoever may talk to them runs code as the user. A Ray that is started here therefore asks for a
token, which lives in this process and its children only.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from eagleray.scheduling.growing import cluster_machine
from eagleray.scheduling.resources import Machine, local_machine

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}
"""Set before Ray is imported, where the user has not set them."""

_LOCAL_ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_free_objects_period_milliseconds": "100",
}
"""For a Ray that only this process uses; a cluster keeps its logs. (The log level spares the user a
warning that Ray Data causes itself, once per pool of actors. By default Ray deletes what nobody
refers to any more once per second: rows that are streamed would pile up between.)
"""

_logger = logging.getLogger(__name__)

VERBOSE = "EAGLERAY_VERBOSE"
"""Environment variable that lets Ray's own logs through."""
_QUIET_LOGGERS = ("ray.data", "ray.data._internal", "ray.train", "ray.tune")


@contextmanager
def ray_session(num_cpus: int | None = None, *, dashboard: bool = False) -> Iterator[None]:
    """Have Ray running inside the ``with`` statement.

    An initialized Ray is used as it is and left running. Else the cluster in the environment
    variable RAY_ADDRESS is joined, or a local one started; either is left at the end.

    Args:
        num_cpus: Logical CPUs of a local Ray; by default the machine's. Ignored where a Ray is
        joined.
        dashboard: Start a local Ray with its dashboard. Where groups of workers may be aborted from
            outside, it is needed: without it their resources are never given back.
    """
    address = os.environ.get("RAY_ADDRESS")
    for name, value in (_ENVIRONMENT | ({} if address else _LOCAL_ENVIRONMENT)).items():
        os.environ.setdefault(name, value)
    if not address:
        _ask_for_tokens()
    import ray

    if ray.is_initialized():
        silence_ray()
        yield
        return
    if address:
        ray.init(address=address, logging_level="ERROR", log_to_driver=is_verbose())
    else:
        with _quiet_stderr():
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=dashboard,
                logging_level="ERROR",
                log_to_driver=is_verbose(),
            )
    silence_ray()
    try:
        yield
    finally:
        ray.shutdown()


def _ask_for_tokens() -> None:
    """Give the Ray that starts next a token of its own, unless the user has switched tokens off.

    Ray asks for tokens by itself where RAY_AUTH_MODE says nothing, but would keep its token in a
    file of the home folder, for all sessions and for good. Ours stands in no file and no command
    line: children inherit it. It serves all sessions of a process, because Ray reads it once.
    """
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        _logger.warning(
            "RAY_AUTH_MODE is 'disabled': while this runs, whoever reaches this machine's ports "
            "can run code as you; unset it to have Ray ask for a token"
        )
    elif "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def present_machine() -> Machine:
    """Return what workers would run on: the cluster in RAY_ADDRESS, or this machine."""
    if not os.environ.get("RAY_ADDRESS"):
        return local_machine()
    with ray_session():
        return cluster_machine()


def on_this_node(kind: type, **options: Any) -> Any:
    """Return an actor class that takes no CPU and whose actors live and die with this node.

    Ray may place an actor that takes nothing on any node. One that only keeps books for this
    process would take the whole job along when that node is lost.

    Args:
        kind: The class.
        **options: Further options of ``ray.remote``.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=strategy, **options)(kind)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what Ray's C++ side says about its log level; errors come as exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class LazySession:
    """A Ray session that begins when first needed and lasts as long as the ``with`` statement.

    Example:
        >>> with LazySession() as session:
        ...     session.start()  # doctest: +SKIP
        ...     session.start()  # the same session  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._is_running = False

    def __enter__(self) -> LazySession:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_running = False
        self._stack.close()

    @property
    def is_running(self) -> bool:
        """Whether it has begun."""
        return self._is_running

    def start(self) -> None:
        """Have Ray running from now on."""
        if not self._is_running:
            self._stack.enter_context(ray_session())
            self._is_running = True


def is_verbose() -> bool:
    """Return whether the user wants to read what Ray says, too (``--verbose``)."""
    return os.environ.get(VERBOSE, "") not in ("", "0")


def silence_ray() -> None:
    """Keep Ray's libraries from writing between our progress lines; errors come as exceptions, in
    our words.
    """
    if is_verbose():
        return
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in _QUIET_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL)
