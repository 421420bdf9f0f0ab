"""Jobs on a running cluster: what a verb does here, done there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eagleray.task import EaglerayError

_READY_S = 60.0
"""A head that has just been started refuses jobs for some seconds."""
_PAUSE_S = 2.0
_BROKEN_S = 900.0
"""How long a job server that does not answer any more is tried again: a tunnel that somebody opens
anew, a laptop that slept."""
_NOT_READY = ("No available agent", "Connection refused", "Failed to connect")
_DIGITS = 12

GRACE_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
"""Environment variable of a job: seconds between SIGTERM and SIGKILL when it is stopped. Ray's own
3 s are no time for a checkpoint at the next step's border."""


class JobError(EaglerayError):
    """The cluster does not answer, or refuses the job."""


@dataclass(frozen=True)
class JobRequest:
    """What is run.

    Args:
        command: The command line, run in the working folder on the head node.
        working_dir: Folder that is copied to the cluster.
        name: Shown beside the job.
        environment: Variables of the job and of all its workers.
        packages: Source folders of Python packages that replace the installed ones.
    """

    command: str
    working_dir: Path
    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: Sequence[Path] = ()

    @property
    def label(self) -> str:
        """Beginning of the ids of jobs that do just this: name and digest of all that is sent."""
        told = [self.command, dict(self.environment), bool(self.packages)]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for folder in (self.working_dir, *self.packages):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    content = hashlib.sha256(path.read_bytes()).digest()
                    digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
        name = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")
        return f"{name}-{digest.hexdigest()[:_DIGITS]}"


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a cluster.

    Args:
        id: Its id.
        status: ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.
        name: What it does.
        message: What the cluster says of it.
        began_s: When it began, seconds since 1970; 0 where it has not.
        was_there: It had been handed in before.
    """

    id: str
    status: str
    name: str = ""
    message: str = ""
    began_s: float = 0.0
    was_there: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class ClusterJobs:
    """The job server of a cluster.

    Args:
        address: Its address, ``http://HEAD:8265``.

    Raises:
        JobError: It does not answer.
    """

    def __init__(self, address: str, *, ready_s: float = _READY_S) -> None:
        self.address, self._ready_s = address, ready_s
        self._client: Any = self._retried(self._connect)

    def submit(self, request: JobRequest) -> Job:
        """Hand in a job; one that does just the same and is not over is given instead.

        Raises:
            JobError: The cluster refuses it.
        """
        environment: dict[str, Any] = {
            "working_dir": str(request.working_dir),
            "env_vars": dict(request.environment),
        }
        if request.packages:
            environment["py_modules"] = [str(path) for path in request.packages]
        label = request.label
        same = [job for job in self.all() if job.id.startswith(f"{label}-")]
        going = [job for job in same if not job.is_over]
        if going:
            return Job(going[0].id, going[0].status, request.name, was_there=True)
        name = f"{label}-{len(same) + 1}"
        try:
            self._retried(
                lambda: self._client.submit_job(
                    entrypoint=request.command,
                    submission_id=name,
                    runtime_env=environment,
                    metadata={"job_submission_name": request.name},
                )
            )
        except JobError as error:  # somebody sends the same at this instant, or an answer was lost
            if "already exists" not in str(error):
                raise
            return Job(name, "PENDING", request.name, was_there=True)
        return Job(name, "PENDING", request.name)

    def all(self) -> list[Job]:
        """Return the jobs that were handed in, the newest first."""
        details = self._retried(self._client.list_jobs)
        jobs = [_job(detail) for detail in details if detail.submission_id]
        return sorted(jobs, key=lambda job: -job.began_s)

    def get(self, job: str) -> Job:
        """Return one job; raises JobError where there is none of that id."""
        return _job(self._retried(lambda: self._client.get_job_info(job)), job)

    def logs(self, job: str) -> str:
        """Return what a job has said so far."""
        text: str = self._retried(lambda: self._client.get_job_logs(job))
        return text

    def stop(self, job: str) -> None:
        """Have a job end: it is asked by SIGTERM, and killed when its time of grace is over."""
        self._retried(lambda: self._client.stop_job(job))

    def follow(
        self, job: str, say: Callable[[str], None], warn: Callable[[str], None] = lambda text: None
    ) -> int:
        """Hand on the job's output until it ends; return its exit status. A connection that breaks
        is made anew, and goes on behind what was handed on.

        Args:
            job: Its id.
            say: Told what the job says.
            warn: Told when the connection is broken.

        Raises:
            JobError: It could not be started; the message says why. Or nobody answers any more.
        """
        said = 0
        while True:
            problem: Exception | None = None
            try:
                said = asyncio.run(self._tail(job, said, say))
            except _BrokenError as broken:
                said, problem = broken.said, broken.error
            if problem is not None:
                warn(
                    f"the connection to {self.address} broke ({problem}); the job goes on, and is "
                    f"followed again within {_BROKEN_S:.0f} s\n"
                )
            info = self._when_it_answers(job)
            if info.status.is_terminal():
                break
            time.sleep(_PAUSE_S)
        self._say_rest(job, said, say)
        if str(info.status) == "SUCCEEDED":
            return 0
        if info.driver_exit_code:
            return int(info.driver_exit_code)
        raise JobError(f"job {job} ended as {info.status}: {info.message}")

    async def _tail(self, job: str, said: int, say: Callable[[str], None]) -> int:
        """Hand on output from its character ``said`` on; return how many there are."""
        seen = 0
        try:
            async for text in self._client.tail_job_logs(job):  # from the beginning each time
                fresh = text[max(0, said - seen) :]
                seen += len(text)
                if fresh:
                    say(fresh)
                    said = seen
        except Exception as error:
            raise _BrokenError(said, error) from error
        return said

    def _say_rest(self, job: str, said: int, say: Callable[[str], None]) -> None:
        """Hand on what came between the last word and the end."""
        try:
            rest = self._client.get_job_logs(job)[said:]
        except Exception:  # the job is over, whatever becomes of its last words
            return
        if rest:
            say(rest)

    def _when_it_answers(self, job: str) -> Any:
        end = time.monotonic() + _BROKEN_S
        while True:
            try:
                return self._client.get_job_info(job)
            except Exception as error:
                if "does not exist" in str(error) or time.monotonic() > end:
                    raise JobError(
                        f"nobody at {self.address} knows of job {job} any more ({error}): is its "
                        "head gone? The storage holds what was done; send the same job again"
                    ) from error
            time.sleep(_PAUSE_S)

    def _connect(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.address)

    def _retried(self, action: Callable[[], Any]) -> Any:
        """Do something as soon as the head is ready for it."""
        from ray.exceptions import AuthenticationError

        end = time.monotonic() + self._ready_s
        while True:
            try:
                return action()
            except AuthenticationError as error:
                raise JobError(
                    f"the job server {self.address} does not take this token: set RAY_AUTH_TOKEN "
                    "or RAY_AUTH_TOKEN_PATH to the cluster's own (cluster/README.md). It says: "
                    f"{error}"
                ) from error
            except (RuntimeError, ConnectionError) as error:
                is_early = any(text in str(error) for text in _NOT_READY)
                if not is_early or time.monotonic() > end:
                    raise JobError(
                        f"the job server {self.address} refuses: {error}; is it the address of "
                        "the head's dashboard (http://HEAD:8265), and is it reachable from here?"
                    ) from error
            time.sleep(_PAUSE_S)


class _BrokenError(Exception):
    """A connection broke after so many characters."""

    def __init__(self, said: int, error: Exception) -> None:
        super().__init__(said, error)
        self.said, self.error = said, error


def _job(detail: Any, job: str = "") -> Job:
    return Job(
        id=detail.submission_id or job,
        status=str(getattr(detail.status, "value", detail.status)),
        name=(detail.metadata or {}).get("job_submission_name", ""),
        message=detail.message or "",
        began_s=(detail.start_time or 0) / 1000,
    )
