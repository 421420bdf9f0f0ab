"""Looking after jobs that were submitted: ``eagleray submit list|status|logs|stop``."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import tyro

from eagleray.scheduling.jobs import ClusterJobs, Job
from eagleray.task import SettingsError

VERBS = ("list", "status", "logs", "stop")
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class ListFlags:
    """List the jobs of a Ray cluster, the newest first."""

    address: str | None = None
    """The cluster's job server, http://HEAD:8265; by default RAY_API_SERVER_ADDRESS."""


@dataclass(frozen=True)
class StatusFlags:
    """Say what has become of a job."""

    job: Annotated[str, tyro.conf.Positional]
    """Its id, as `submit` and `submit list` say it."""
    address: str | None = None
    """The cluster's job server, http://HEAD:8265; by default RAY_API_SERVER_ADDRESS."""


@dataclass(frozen=True)
class LogsFlags(StatusFlags):
    """Show what a job has said."""

    follow: bool = False
    """Go on until it ends, and exit as it did."""


@dataclass(frozen=True)
class StopFlags(StatusFlags):
    """Have a job stop: training writes a checkpoint first."""

    wait: bool = True
    """Wait until it has ended."""


def look_after(verb: str, arguments: list[str]) -> int:
    """Do one of ``VERBS`` and return the exit status."""
    prog = f"eagleray submit {verb}"
    if verb == "list":
        listed = tyro.cli(ListFlags, args=arguments, prog=prog)
        for job in ClusterJobs(checked_address(listed.address)).all():
            sys.stdout.write(_line(job))
        return 0
    kind = {"status": StatusFlags, "logs": LogsFlags, "stop": StopFlags}[verb]
    flags: StatusFlags = tyro.cli(kind, args=arguments, prog=prog)
    cluster = ClusterJobs(checked_address(flags.address))
    if isinstance(flags, LogsFlags):
        if flags.follow:
            return follow(cluster, flags.job)
        sys.stdout.write(cluster.logs(flags.job))
        return 0
    if isinstance(flags, StopFlags):
        cluster.stop(flags.job)
        while flags.wait and not cluster.get(flags.job).is_over:
            time.sleep(_LOOK_EVERY_S)
    job = cluster.get(flags.job)
    sys.stdout.write(_line(job) + (f"{job.message}\n" if job.message else ""))
    return 0


def follow(cluster: ClusterJobs, job: str) -> int:
    """Write a job's output until it ends, and return its exit status.

    Raises:
        InterruptedError: By Ctrl-C; the job goes on.
    """
    try:
        return cluster.follow(job, _say, _warn)
    except KeyboardInterrupt as error:
        raise InterruptedError(
            f"the job goes on; eagleray submit stop {job} --address {cluster.address} ends it with "
            f"a checkpoint, eagleray submit logs {job} --follow --address {cluster.address} follows"
        ) from error


def checked_address(given: str | None) -> str:
    """Return the job server's address, from a flag or from the environment.

    Raises:
        SettingsError: There is none, or it cannot be one.
    """
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS")
    if not address:
        raise SettingsError("eagleray submit needs --address http://HEAD:8265")
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_usable = is_usable and parts.port != 0
    except ValueError:  # a port that is none
        is_usable = False
    if not is_usable:
        raise SettingsError(
            f"--address {address!r} is no job server; give http://HEAD:8265 (ports are 1 to 65535)"
        )
    return address


def _line(job: Job) -> str:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.began_s)) if job.began_s else "-"
    return f"{job.id}  {job.status:9}  {began:16}  {job.name}\n"


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _warn(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
