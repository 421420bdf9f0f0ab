"""What a result was made with: versions, code revision, hardware. Written beside every run."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("eagleray", "torch", "torchvision", "numpy", "ray", "deepspeed", "pyarrow", "timm")


def describe_environment() -> dict[str, Any]:
    """Return versions, the code's revision and the hardware, as JSON values."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: installed_version(name) for name in _PACKAGES},
        "revision": code_revision(),
        "cpus": os.cpu_count(),
        "memory_gb": round(_memory_bytes() / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def installed_version(package: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def code_revision() -> str | None:
    """Return the git commit of the code, with ``+`` where files differ from it; None outside
    git.
    """
    folder = Path(__file__).resolve().parent
    head = _git("rev-parse", "HEAD", folder=folder)
    if head is None:
        return None
    return head + ("+" if _git("status", "--porcelain", "-uno", folder=folder) else "")


def _git(*arguments: str, folder: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
