"""The verb that runs another verb as a job on a cluster."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import tyro

from eagleray.cli import jobs
from eagleray.cli.arguments import parse
from eagleray.cli.flags import EvaluateFlags, Flags, SubmitFlags
from eagleray.experiment.discovery import installed_tasks
from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.environment import REVISION_VARIABLE, code_revision
from eagleray.scheduling import CLUSTER_VARIABLE, read_cluster_file
from eagleray.scheduling.jobs import GRACE_VARIABLE, ClusterJobs, JobRequest
from eagleray.task import SettingsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def submit(arguments: list[str]) -> int:
    """Run an experiment as a job on a Ray cluster; or look after such jobs (``jobs.VERBS``)."""
    if arguments and arguments[0] in jobs.VERBS:
        return jobs.look_after(arguments[0], arguments[1:])
    flags, rest = tyro.cli(
        SubmitFlags, args=arguments, prog="eagleray submit", return_unknown_args=True
    )
    address = jobs.checked_address(flags.address)
    environment = _environment(flags.env)
    of_engine = {GRACE_VARIABLE: str(_checked_grace(flags.grace_s))}
    if flags.cluster is not None:
        of_engine[CLUSTER_VARIABLE] = read_cluster_file(flags.cluster).encode()
    if flags.ship_code and (revision := code_revision()):
        of_engine[REVISION_VARIABLE] = revision
    with _variables(environment):
        path, _, experiment = parse("submit", "", _given_flags(flags.verb), rest)
    _check_variables(path, environment)
    _check_storage(experiment)
    with _folder(flags.working_dir, path) as folder:
        request = JobRequest(
            command=shlex.join(["eagleray", flags.verb, *_relative(rest, path, flags.working_dir)]),
            working_dir=folder,
            name=f"{flags.verb} {experiment.name}",
            environment={**of_engine, **environment},
            packages=_packages() if flags.ship_code else (),
        )
        cluster = ClusterJobs(address)
        job = cluster.submit(request)
    begun = "goes on there already, and is followed" if job.was_there else request.command
    sys.stdout.write(f"job {job.id} on {address}: {begun}\n")
    sys.stdout.flush()
    return jobs.follow(cluster, job.id) if flags.wait else 0


def _checked_grace(grace_s: int) -> int:
    if grace_s < 1:
        raise SettingsError(f"--grace-s is {grace_s}, allowed is 1 or more seconds")
    return grace_s


def _given_flags(verb: str) -> type[Flags]:
    """Return the flags that the verb takes beside settings, so that they can be checked here."""
    if verb == "evaluate":
        return EvaluateFlags
    return Flags


def _environment(texts: Sequence[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise SettingsError(f"--env {text!r} must have the form NAME=VALUE")
        variables[name] = value
    return variables


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Have environment variables set while the experiment is checked."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_variables(path: Path, environment: Mapping[str, str]) -> None:
    """Refuse variables whose value here would say nothing about the cluster."""
    used = set(_VARIABLE.findall(path.read_text(encoding="utf-8"))) - set(environment)
    if used:
        given = " ".join(f"--env {name}=VALUE" for name in sorted(used))
        raise SettingsError(f"{path} uses variables; say what they are on the cluster: {given}")


def _check_storage(experiment: ExperimentSettings) -> None:
    """Refuse a storage that would vanish with the job's working folder."""
    storage = experiment.storage
    if "://" not in storage and not Path(storage).is_absolute():
        raise SettingsError(
            f"storage {storage!r} is relative to the job's own folder, which is deleted with it: "
            "give a URI (--storage s3://bucket/folder) or the absolute path of a folder that all "
            "nodes share"
        )


@contextmanager
def _folder(working_dir: Path | None, experiment: Path) -> Iterator[Path]:
    """Give the folder that is sent."""
    if working_dir is not None:
        yield working_dir
        return
    with tempfile.TemporaryDirectory(prefix="eagleray-submit-") as draft:
        shutil.copy(experiment, Path(draft) / experiment.name)
        yield Path(draft)


def _relative(arguments: Sequence[str], path: Path, working_dir: Path | None) -> list[str]:
    """Return the verb's arguments with the experiment's path as the job will see it."""
    if working_dir is None:
        seen = path.name
    elif path.resolve().is_relative_to(working_dir.resolve()):
        seen = path.resolve().relative_to(working_dir.resolve()).as_posix()
    else:
        raise SettingsError(f"{path} does not lie in --working-dir {working_dir}")
    rest = list(arguments)
    rest.remove(next(a for a in rest if Path(a) == path))
    return [seen, *rest]


def _packages() -> list[Path]:
    """Return the source folders of the engine, of its companions and of all installed tasks."""
    tasks = {point.module.partition(".")[0] for point in installed_tasks().values()}
    names = tasks | {m.name for m in pkgutil.iter_modules() if m.name.startswith("eagleray")}
    specs = [importlib.util.find_spec(name) for name in sorted(names)]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]
