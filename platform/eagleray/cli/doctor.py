"""The verb that says what is there, what is missing and what to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import tyro

from eagleray.analysis.table import plain_table
from eagleray.api import Experiment
from eagleray.cli.flags import DoctorFlags
from eagleray.experiment.discovery import asking_task, default_task, installed_tasks
from eagleray.experiment.load import load_experiment
from eagleray.runs.environment import describe_environment
from eagleray.scheduling import present_machine
from eagleray.storage import Store
from eagleray.task import EaglerayError, Requirement

Row = tuple[object, object, object]
"""What, what was found, what to do."""

_GB = 1e9
_LITTLE_DISK_GB = 10.0
_LITTLE_SHARED_MEMORY = 0.3
"""Ray's object store takes this part of the memory."""
_CONNECT_S = 5.0
_ADDRESS = re.compile(r"(?:ray://)?([^:/]+):(\d+)")


def doctor(arguments: list[str]) -> int:
    """Say what is there and what is missing; status 1 if something is missing."""
    flags = tyro.cli(DoctorFlags, args=arguments, prog="eagleray doctor")
    experiments = [Experiment(load_experiment(path)) for path in flags.experiment]
    storages = [e.settings.storage for e in experiments] or [flags.storage]
    task_rows, requirements = _look(experiments)
    is_built = True
    if flags.build:
        is_built = _build(requirements)
        task_rows, requirements = _look(experiments)
    missing = {r.name for e in experiments for r in e.missing()}
    refused = [row for e in experiments for row in _refused(e)]
    rows = [
        *_machine(dict.fromkeys(storages)),
        *_compilers(),
        ("Ray", *_ray()),
        *task_rows,
        *(_requirement(r, is_missing=r.name in missing) for r in requirements),
        *refused,
    ]
    sys.stdout.write(plain_table(("what", "found", "what to do"), rows) + "\n")
    return 1 if missing or refused or not is_built else 0


def _refused(experiment: Experiment) -> list[Row]:
    """Return a row where ``run`` would refuse the experiment though all files are there."""
    try:
        experiment.check_choices()
    except EaglerayError as error:
        return [(f"experiment {experiment.settings.name}", "REFUSED", error)]
    return []


def _machine(storages: Iterable[str]) -> list[Row]:
    here = describe_environment()
    return [
        ("Python", here.python, ""),
        ("code", here.revision or "installed package", ""),
        ("CPUs", here.cpus, ""),
        ("memory", f"{here.memory_gb} GB", ""),
        *(_disk(storage) for storage in storages),
        _shared_memory(here.memory_gb or 0.0),
        ("GPUs", ", ".join(here.gpus) or "none", _gpu_hint()),
        ("CUDA of PyTorch", torch.version.cuda or "none: a CPU build", ""),
        *((name, version or "missing", "") for name, version in here.packages.items()),
    ]


def _compilers() -> list[Row]:
    deepspeed = "needed by strategy deepspeed and by compiled operators"
    return [
        _tool("C++ compiler", os.environ.get("CXX", "c++"), deepspeed),
        _tool("ninja", "ninja", f"{deepspeed}; put the environment's bin on PATH"),
        _nvcc(),
    ]


def _tool(label: str, command: str, why: str) -> Row:
    path = shutil.which(command)
    return (label, path or "missing", "" if path else why)


def _nvcc() -> Row:
    path = shutil.which("nvcc")
    if path is None:
        return ("CUDA compiler", "missing", "needed to compile our operators for GPUs")
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return ("CUDA compiler", path, f"it does not run: {error}")
    release = re.search(r"release ([\d.]+)", told.stdout)
    version, built_for = release[1] if release else "?", torch.version.cuda or ""
    differs = bool(built_for) and version.split(".")[0] != built_for.split(".")[0]
    hint = f"PyTorch was built for CUDA {built_for}: take an nvcc of that generation"
    return ("CUDA compiler", f"{path} ({version})", hint if differs else "")


def _gpu_hint() -> str:
    if torch.cuda.is_available() or not shutil.which("nvidia-smi"):
        return ""
    return "a driver is there, but torch sees no GPU: check the CUDA version of torch"


def _disk(uri: str) -> Row:
    store = Store(uri)
    if not store.is_local:
        return (f"storage {uri}", "an object store", "")
    folder = next(p for p in (Path(store.uri), *Path(store.uri).parents) if p.exists())
    free = shutil.disk_usage(folder).free / _GB
    hint = "little room for prepared data and checkpoints" if free < _LITTLE_DISK_GB else ""
    if not os.access(folder, os.W_OK):
        hint = f"{folder} is not writable: choose another storage"
    return (f"storage {uri}", f"{free:.0f} GB free", hint)


def _shared_memory(memory_gb: float) -> Row:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return ("shared memory", "none", "Ray's object store goes to disk, which is slow")
    size = shutil.disk_usage(folder).total / _GB
    is_little = size < _LITTLE_SHARED_MEMORY * memory_gb
    hint = "Ray wants 30 % of the memory: in Docker start with --shm-size" if is_little else ""
    return ("shared memory", f"{size:.1f} GB", hint)


def _ray() -> tuple[object, object]:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return "starts on this machine when it is needed (RAY_ADDRESS is not set)", ""
    named = _ADDRESS.fullmatch(address)
    try:
        if named:
            socket.create_connection((named[1], int(named[2])), _CONNECT_S).close()
        nodes = present_machine().nodes
    except (OSError, RuntimeError, ValueError) as error:
        return f"MISSING: {address} does not answer ({error})", "start it, or unset RAY_ADDRESS"
    cpus, gpus = sum(n.cpus for n in nodes), sum(n.gpus for n in nodes)
    return f"{address}: {len(nodes)} node(s), {cpus:g} CPUs, {gpus:g} GPUs", ""


def _look(experiments: Sequence[Experiment]) -> tuple[list[Row], list[Requirement]]:
    """Return a row per installed task, and what tasks can use whatever their settings say with what
    the experiments need.
    """
    rows: list[Row] = []
    wanted: list[Requirement] = []
    for name in installed_tasks():
        try:
            default = default_task(name)
            with asking_task(name, "requirements()"):
                needed = default.requirements() if default is not None else ()
                wanted += [r for r in needed if r.optional]
        except EaglerayError as error:
            rows.append((f"task {name}", "not usable", error))
            continue
        rows.append((f"task {name}", "installed", ""))
    wanted += [r for e in experiments for r in e.task.requirements()]
    return rows, list({r.name: r for r in wanted}.values())


def _requirement(requirement: Requirement, *, is_missing: bool) -> Row:
    if requirement.found:
        return (requirement.name, "found", "")
    return (requirement.name, "MISSING" if is_missing else "not there", requirement.hint)


def _build(requirements: Sequence[Requirement]) -> bool:
    """Build what can be built; returns whether all of that succeeded."""
    is_built = True
    for requirement in requirements:
        if requirement.found or requirement.build is None:
            continue
        begin = time.monotonic()
        sys.stdout.write(f"building {requirement.name} ...\n")
        sys.stdout.flush()
        try:
            made = requirement.build()
        except Exception as error:  # a plugin's own error type, whatever it is
            sys.stderr.write(f"{requirement.name}: {error}\n")
            is_built = False
            continue
        sys.stdout.write(f"{requirement.name}: {made} ({time.monotonic() - begin:.0f} s)\n")
    return is_built
