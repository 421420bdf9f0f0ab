"""Writes what a benchmark measured, with everything needed to judge it: machine, versions, commit,
command.

    from record import write_record
    write_record("panoptic_quality", {"ratio": 1.4}, packages=["numpy", "pillow"])

Results lie in ``experiments/benchmarks/results/<name>.json``; the latest run replaces the one
before.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
"""Default folder of the JSON files."""

_ROOT = Path(__file__).resolve().parents[2]
_ALWAYS = ("numpy", "torch")


def write_record(
    name: str,
    results: Mapping[str, Any],
    *,
    packages: Sequence[str] = (),
    folder: Path = RESULTS,
) -> Path:
    """Write the results of one benchmark.

    Args:
        name: Name of the benchmark, the file's stem.
        results: What was measured; JSON values, units in the keys (``decode_ms``).
        packages: Distributions whose versions matter, beside numpy and torch.
        folder: Where to.

    Returns:
        The file.
    """
    record = {
        "benchmark": name,
        "results": dict(results),
        "command": " ".join(["python", *map(_from_root, sys.argv)]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(packages),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Describe the machine: processor, usable cores, memory, load and GPUs."""
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages * page_size / 1e9, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of Python and of distributions; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in (*_ALWAYS, *packages):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def commit() -> str:
    """Return the commit, with ``+changes`` where files under version control differ from it."""
    try:
        revision = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return revision + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def _from_root(argument: str) -> str:
    path = Path(argument)
    if path.is_absolute() and path.is_relative_to(_ROOT):
        return str(path.relative_to(_ROOT))
    return argument


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
