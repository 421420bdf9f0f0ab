"""Training on a group of Ray Train workers.

Workers write checkpoints and metrics into the run's folder themselves; Ray only starts them,
notices when one dies, and starts the group again, which then goes on from the newest checkpoint.
What does not come back: a group whose members raise the same exception twice, or whose settings are
wrong.

    log/failures/<group>-<rank>.json  one per rank that raised, by the number of the group's start
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eagleray.log_lines import line_formatter
from eagleray.options import Device, RunOptions
from eagleray.prepare import TransientError
from eagleray.progress import Progress, Silent
from eagleray.runs.console import console_kept
from eagleray.runs.metrics import LIVE
from eagleray.runs.store_log import StoreLog
from eagleray.scheduling import (
    LazySession,
    WorkerGroup,
    await_nodes,
    cluster_machine,
    fit_workers,
)
from eagleray.scheduling.exported import export
from eagleray.scheduling.session import is_verbose
from eagleray.storage import Store
from eagleray.task import EaglerayError, Resources
from eagleray.train.job import WORKER_SETTINGS, Report, TrainingError, TrainJob, TrainOutcome
from eagleray.train.loop import train_process
from eagleray.train.stop import request_stop, sigterm_as_interrupt

_log = logging.getLogger(__name__)

_OUTCOME = "log/outcome.json"
_GROUPS = "log/groups"
_RAY_FOLDER = "log/ray"
_SIGN = "log/driver"
_POLL_S = 0.5
_WAITING_EVERY_S = 15.0
_RAY_WORDS = "log/ray-errors.txt"
_LOST_NODES_ALLOWED = 100
"""Machines that may be lost without notice, beside ``train.max_failures``, before Ray gives up."""
_START_TIMEOUT_S = "120"
"""Seconds that Ray waits for all workers before it tries again (without limit, so the driver checks
first).
"""
_BOOT_TIMEOUT_S = "900"
"""The same where a lost node is replaced by one that boots: longer than that takes."""
_HEALTH_CHECK_S = "1"


def train_with_ray(
    job: TrainJob, options: RunOptions, report: Report | None
) -> tuple[TrainOutcome, int]:
    """Train on Ray workers; return how it ended and how often the group was started again.

    Args:
        job: What to do.
        options: Where it runs, and who is told about steps.
        report: Called in this process with the newest metrics whenever workers wrote some.

    Raises:
        TrainingError: A worker failed for good.
        SchedulingError: The machine or cluster can never hold the workers.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _HEALTH_CHECK_S)
    if not job.run.is_local and job.run.uri.startswith("memory://"):
        raise EaglerayError("training workers need storage that all of them see, not memory://")
    clear_failures(job.run)
    for path in (_OUTCOME, LIVE):
        job.run.delete(path)
    job.run.delete(_GROUPS, recursive=True)
    with nullcontext(options.session) if options.session else LazySession() as session:
        if not session.is_running:
            options.progress.note("starting Ray ...")
        session.start()
        from eagleray.prepare.row_pool import row_pool

        group = _group(job, options.device)
        await_nodes(group, group.num_workers, what="training", note=options.progress.note)
        timeout_s = _BOOT_TIMEOUT_S if group.is_elastic else _START_TIMEOUT_S
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", timeout_s)
        asked = job.experiment.prepare.workers
        with row_pool(job.rows, options, workers=asked, beside=group) as pool:
            many = "1 worker" if group.num_workers == 1 else f"{group.num_workers} workers"
            options.progress.note(f"starting {many} on {group.device} ...")
            trainer = _trainer(replace(job, rows=pool.rows), group)
            error = _fit(trainer, job.run, options.progress, report)
    outcome = _conclude(job.run, error)
    job.run.delete(_RAY_FOLDER, recursive=True)
    return outcome


def _group(job: TrainJob, device: Device) -> WorkerGroup:
    """Return the least workers that the training goes on with; raises SchedulingError."""
    settings = job.experiment.train
    asked = settings.num_workers
    gpus = 0.0 if device == "cpu" else settings.gpus_per_worker
    return fit_workers(
        cluster_machine(),
        Resources(cpus=settings.cpus_per_worker, gpus=gpus),
        device=device,
        asked=asked if isinstance(asked, int) else min(asked),
        what="training",
        setting=WORKER_SETTINGS,
    )


def _trainer(job: TrainJob, group: WorkerGroup) -> Any:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = job.experiment.train
    asked = settings.num_workers
    least, most = (asked, asked) if isinstance(asked, int) else (min(asked), max(asked))
    lost_allowed = _LOST_NODES_ALLOWED if group.is_elastic or len(ray.nodes()) > 1 else 0
    per_worker = {"CPU": group.cpus} | ({"GPU": group.gpus} if group.gpus else {})
    return TorchTrainer(
        _work,
        train_loop_config={
            "job": job,
            "on_gpu": group.device == "cuda",
            "folder": str(Path.cwd()),
            "sign": _leave_sign(job.run),
        },
        scaling_config=ScalingConfig(
            num_workers=least if least == most else (least, most),
            use_gpu=group.device == "cuda",
            resources_per_worker=per_worker,
        ),
        torch_config=TorchConfig(
            backend="nccl" if group.device == "cuda" else "gloo",
            timeout_s=settings.collective_timeout_s,
        ),
        run_config=RunConfig(
            name=f"train-{uuid.uuid4().hex[:12]}",
            storage_path=f"{job.run.uri.rstrip('/')}/{_RAY_FOLDER}",
            # Losses with notice have a budget of their own, without limit; those without are
            # counted by the workers (``note_start``).
            failure_config=FailureConfig(max_failures=settings.max_failures + lost_allowed),
        ),
    )


def _work(config: Mapping[str, Any]) -> None:
    """Train as one worker of the group; runs on the worker."""
    import ray.train
    from ray.train.torch import get_device

    # Ray gives every worker a folder of its own; relative paths mean the command's folder.
    with contextlib.suppress(OSError):
        os.chdir(config["folder"])
    job: TrainJob = config["job"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    check_sign(job.run, config["sign"])
    group, charged = _number_group(job.run, rank)
    if charged > job.experiment.train.max_failures or should_give_up(read_failures(job.run)):
        return
    if rank == 0:
        of = job.run.uri.rstrip("/").rpartition("/")[2]
        export("eagleray_charged_restarts", charged, of)
        export("eagleray_lost_node_restarts", group - 1 - charged, of)
    log = log_to_store(job.run, rank, group)
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    import torch

    device = get_device() if config["on_gpu"] else torch.device("cpu")
    try:
        with console_kept(job.run, f"{rank}"):
            outcome = train_process(
                job,
                device,
                progress=Silent(),
                report=lambda metrics: ray.train.report(dict(metrics)),
                notice=_leaving_nodes,
            )
    except Exception as error:
        record_failure(job.run, group, rank, error)
        raise
    finally:
        log.close()
    if rank == 0:
        job.run.write(_OUTCOME, json.dumps(asdict(outcome)).encode())


def _leave_sign(run: Store) -> str:
    """Write what workers must find where they run; returns what it says."""
    sign = uuid.uuid4().hex
    run.write(_SIGN, sign.encode())
    return sign


def check_sign(run: Store, sign: str) -> None:
    """Refuse a machine that does not see the run's folder, or sees another of the same name.

    Raises:
        EaglerayError: It does not.
    """
    try:
        seen = run.read(_SIGN).decode("utf-8", "replace")
    except FileNotFoundError:
        seen = ""
    if seen != sign:
        raise EaglerayError(
            f"{socket.gethostname()} does not see the run's folder {run.uri} of the driver: use "
            "storage that all machines see (a shared folder, s3://, gs://)"
        )


def _leaving_nodes() -> Sequence[str]:
    import ray.train

    info = ray.train.get_preemption_info()
    return info.preempted_node_ids if info is not None else ()


def log_to_store(run: Store, rank: int, group: int) -> logging.Handler:
    """Write the warnings of this worker to ``log/<rank>.log``; on an object store, which cannot
    append, to a file per start of the group.
    """
    handler: logging.Handler
    if run.is_local:
        path = run.local_path(f"log/{rank}.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
    else:
        handler = StoreLog(run, f"log/{rank}.{group:04d}.log")
    handler.setFormatter(line_formatter())
    logging.getLogger("eagleray").addHandler(handler)
    return handler


def _number_group(run: Store, rank: int) -> tuple[int, int]:
    """Return which start of the group this is, from 1, and how many restarts no lost machine
    explains; alike on all ranks.
    """
    import torch.distributed as dist

    counts = [note_start(run, _lost_nodes()) if rank == 0 else (0, 0)]
    dist.broadcast_object_list(counts, src=0)
    return counts[0]


def note_start(run: Store, lost_nodes: int) -> tuple[int, int]:
    """Note that a group of workers starts; return its number, from 1, and how many restarts no lost
    machine explains.

    Args:
        run: The run's folder.
        lost_nodes: Machines that the cluster has lost so far.
    """
    before = run.files(_GROUPS)
    number = 1 + len(before)
    run.write(f"{_GROUPS}/{number:04d}", str(lost_nodes).encode())
    first = int(run.read(before[0]) or b"0") if before else lost_nodes
    return number, max(0, number - 1 - (lost_nodes - first))


def _lost_nodes() -> int:
    import ray

    return sum(not node["Alive"] for node in ray.nodes())


def _fit(
    trainer: Any, run: Store, progress: Progress, report: Report | None
) -> BaseException | None:
    """Run the trainer in a thread, show progress, and turn Ctrl-C and SIGTERM into a stop
    request.
    """
    errors: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    # An event, not Thread.join: in Python 3.11 an interrupted join takes the thread for ended.
    ended = threading.Event()
    thread = threading.Thread(target=fit, name="eagleray-train", daemon=True)
    shown = _Shown(run, progress, report)
    thread.start()
    with sigterm_as_interrupt():
        while not ended.is_set():
            try:
                ended.wait(_POLL_S)
                shown.update()
            except KeyboardInterrupt:
                if shown.stopping:
                    raise
                shown.stopping = True
                progress.note(
                    "stopping at the next step border with a checkpoint; once more to leave at once"
                )
                request_stop(run)
    shown.update()
    shown.close()
    return errors[0] if errors else None


class _Shown:
    """What the driver has shown of the workers' progress so far."""

    def __init__(self, run: Store, progress: Progress, report: Report | None) -> None:
        self._run, self._progress, self._report = run, progress, report
        self._phase: str | None = None
        self._step = 0
        self._last: dict[str, Any] = {}
        self._begin, self._told = time.monotonic(), 0
        self.stopping = False

    def update(self) -> None:
        """Read the newest metrics, if there are new ones."""
        try:
            line = json.loads(self._run.read(LIVE))
        except (FileNotFoundError, ValueError):
            self._say_waiting()
            return
        if line == self._last:
            return
        self._last = line
        if line["phase"] != self._phase:
            self.close()
            self._phase, self._step = line["phase"], 0
            self._progress.start(f"train {line['phase']}", int(line["end_step"]))
        done = max(0, line["step"] - self._step)
        self._step = max(self._step, line["step"])
        shown = {k: line[k] for k in ("loss", "wait_fraction") if line.get(k) is not None}
        self._progress.advance(done, **shown)
        if self._report is not None:
            self._report({k: v for k, v in line.items() if isinstance(v, (int, float))})

    def _say_waiting(self) -> None:
        """Say every few seconds that no worker has made a step yet."""
        waited = int((time.monotonic() - self._begin) / _WAITING_EVERY_S)
        if self._phase is None and waited > self._told:
            self._told = waited
            seconds = waited * _WAITING_EVERY_S
            self._progress.note(f"waiting for the first metrics of the workers ({seconds:.0f} s)")

    def close(self) -> None:
        """End the bar of the phase."""
        if self._phase is not None:
            self._progress.finish()


def _conclude(run: Store, error: BaseException | None) -> tuple[TrainOutcome, int]:
    failures = read_failures(run)
    starts = len(run.files(_GROUPS))
    try:
        outcome = TrainOutcome(**json.loads(run.read(_OUTCOME)))
    except FileNotFoundError:
        raise TrainingError(_reason(run, failures, starts, error)) from error
    return outcome, max(0, starts - 1)


def _reason(run: Store, failures: list[Failure], starts: int, error: BaseException | None) -> str:
    """Return what ended the training.

    Where Ray gave up, that is what the last group died of, and not what an earlier one raised;
    where a group ended by itself without an outcome, it saw that going on is pointless.
    """
    last = failures if error is None else [f for f in failures if f.group == starts]
    cause = root_cause(last)
    if cause is not None and not cause.is_following:
        return (
            f"{cause.trace}\nrank {cause.rank} failed first with the trace above; the group of "
            f"workers was started {starts} time(s). Mend the cause and give the same command "
            "again: it goes on from the newest checkpoint"
        )
    why = error or "more often than train.max_failures allows"
    noticed = ""
    if cause is not None:
        noticed = f" (rank {cause.rank} noticed it by {cause.kind}: {_first_line(cause.message)})"
    return (
        f"training workers died {starts} time(s), the last time without an exception of their own"
        f"{noticed}: killed, or out of memory: {_first_line(str(why))}; raise "
        f"train.max_failures or lower micro_batch_size; {_ray_words(run, error)}"
    )


def _ray_words(run: Store, error: BaseException | None) -> str:
    """Keep all that Ray says in a file, and return where; or say it, where that was asked for."""
    text = str(error)
    if is_verbose():
        return f"Ray says:\n{text}"
    run.write(_RAY_WORDS, text.encode("utf-8", "replace"))
    return f"all that Ray says is in {run.uri}/{_RAY_WORDS} (or --verbose)"


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


_FAILURES = "log/failures"
_FOLLOWING = (
    "DistBackendError",
    "DistNetworkError",
    "DistStoreError",
    "gloo",
    "Connection closed",
    "NCCL",
)
"""What ranks raise only because another rank went away."""


@dataclass(frozen=True)
class Failure:
    """An exception in a training process.

    Args:
        group: Which start of the group of workers, from 1.
        rank: Which of its processes.
        kind: Type of the exception.
        message: Its message.
        trace: Its traceback.
        time: Seconds since 1970.
        is_final: Whether trying again is pointless (bad settings or data).
    """

    group: int
    rank: int
    kind: str
    message: str
    trace: str
    time: float
    is_final: bool

    @property
    def is_following(self) -> bool:
        """Whether it looks like the consequence of another rank's death."""
        return any(word in f"{self.kind} {self.message}" for word in _FOLLOWING)


def record_failure(run: Store, group: int, rank: int, error: BaseException) -> None:
    """Write down why a rank failed."""
    failure = Failure(
        group=group,
        rank=rank,
        kind=type(error).__name__,
        message=str(error),
        trace="".join(traceback.format_exception(error)),
        time=time.time(),
        is_final=isinstance(error, EaglerayError) and not isinstance(error, TransientError),
    )
    run.write(f"{_FAILURES}/{group:04d}-{rank:04d}.json", json.dumps(asdict(failure)).encode())


def read_failures(run: Store) -> list[Failure]:
    """Return all failures written down, the oldest first."""
    found = [Failure(**json.loads(run.read(p))) for p in run.files(_FAILURES)]
    return sorted(found, key=lambda f: f.time)


def clear_failures(run: Store) -> None:
    """Forget the failures of an earlier call."""
    run.delete(_FAILURES, recursive=True)


def root_cause(failures: list[Failure]) -> Failure | None:
    """Return the first failure of the newest group, of those that are not mere consequences if
    possible.
    """
    newest = max((f.group for f in failures), default=0)
    last = [f for f in failures if f.group == newest]
    own = [f for f in last if not f.is_following]
    return next(iter(own or last), None)


def should_give_up(failures: list[Failure]) -> bool:
    """Return whether starting again is pointless: bad input, or the same exception twice in a row.

    The death of a process, or of the network, leaves no exception of its own and is worth another
    try.
    """
    by_group: dict[int, list[Failure]] = {}
    for failure in failures:
        by_group.setdefault(failure.group, []).append(failure)
    causes = [root_cause(by_group[g]) for g in sorted(by_group)]
    known = [c for c in causes if c is not None and not c.is_following]
    if known and known[-1].is_final:
        return True
    if len(known) < 2 or known[-1].group != known[-2].group + 1:
        return False
    return (known[-1].kind, known[-1].message) == (known[-2].kind, known[-2].message)
