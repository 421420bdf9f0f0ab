"""Jobs on a running cluster: what a verb does here, done there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eagleray.task import EaglerayError

_READY_S = 60.0
"""A head that has just been started refuses jobs for some seconds."""
_PAUSE_S = 2.0
_NOT_READY = ("No available agent", "Connection refused", "Failed to connect")


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

    def submit(self, request: JobRequest) -> str:
        """Hand in a job and return its id.

        Raises:
            JobError: The cluster refuses it.
        """
        environment: dict[str, Any] = {
            "working_dir": str(request.working_dir),
            "env_vars": dict(request.environment),
        }
        if request.packages:
            environment["py_modules"] = [str(path) for path in request.packages]
        job: str = self._retried(
            lambda: self._client.submit_job(
                entrypoint=request.command,
                runtime_env=environment,
                metadata={"job_submission_name": request.name},
            )
        )
        return job

    def follow(self, job: str, say: Callable[[str], None]) -> int:
        """Hand on the job's output until it ends; return its exit status.

        Raises:
            JobError: It could not be started; the message says why.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job):
                say(text)

        asyncio.run(tail())
        while not self._client.get_job_status(job).is_terminal():
            time.sleep(_PAUSE_S)
        info = self._client.get_job_info(job)
        if str(info.status) == "SUCCEEDED":
            return 0
        if info.driver_exit_code:
            return int(info.driver_exit_code)
        raise JobError(f"job {job} ended as {info.status}: {info.message}")

    def _connect(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self.address)

    def _retried(self, action: Callable[[], Any]) -> Any:
        """Do something as soon as the head is ready for it."""
        end = time.monotonic() + self._ready_s
        while True:
            try:
                return action()
            except (RuntimeError, ConnectionError) as error:
                is_early = any(text in str(error) for text in _NOT_READY)
                if not is_early or time.monotonic() > end:
                    raise JobError(
                        f"the job server {self.address} refuses: {error}; is it the address of "
                        "the head's dashboard (http://HEAD:8265), and is it reachable from here?"
                    ) from error
            time.sleep(_PAUSE_S)
