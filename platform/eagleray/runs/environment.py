"""What a result was made with: versions, code revision, hardware. Written beside every run."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from eagleray.runs.metrics import flatten
from eagleray.runs.records import encode_json
from eagleray.task import InputError

REVISION_VARIABLE = "EAGLERAY_REVISION"
"""Environment variable with the commit of code that lies in no checkout."""
_DISTRIBUTION = "eagleray"
"""Of plugin, toolbox and engine where they are installed from one source tree."""
_PACKAGES = ("eagleray", "torch", "torchvision", "numpy", "ray", "deepspeed", "pyarrow", "timm")


@dataclass(frozen=True, slots=True)
class Environment:
    """What a result was made with.

    Args:
        python: Version of Python.
        system: Operating system and processor.
        packages: Versions by package; None for one that is not installed.
        revision: Commit of the code, see ``code_revision``.
        sources: Package, distribution, version and revision of plugin, toolbox and engine.
        cpus: Processor cores.
        memory_gb: Main memory in GiB.
        gpus: Names of the GPUs.
        seed: The experiment's seed.
    """

    python: str = ""
    system: str = ""
    packages: dict[str, str | None] = field(default_factory=dict)
    revision: str | None = None
    cpus: int | None = None
    memory_gb: float | None = None
    gpus: tuple[str, ...] = ()
    seed: int | None = None
    sources: dict[str, dict[str, str | None]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the content of a run's ``environment.json``."""
        return encode_json(asdict(self))

    def facts(self) -> dict[str, Any]:
        """Return names and values for people, packages by ``packages.NAME``."""
        return flatten(dict(sorted(asdict(self).items())), separator=".")

    @classmethod
    def parse(cls, values: Any) -> Environment:
        """Return the environment in values read from JSON.

        Raises:
            InputError: They are none.
        """
        try:
            return _ENVIRONMENT.validate_python(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise InputError(f"{where}: {first['msg']}") from error


_ENVIRONMENT = TypeAdapter(Environment)


def describe_environment(seed: int | None = None, plugin: str = "") -> Environment:
    """Return versions, the code's revision and the hardware of this process.

    Args:
        seed: The experiment's seed.
        plugin: Top-level package of the task.
    """
    import torch

    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages={name: installed_version(name) for name in _PACKAGES},
        revision=code_revision(),
        cpus=os.cpu_count(),
        memory_gb=round(_memory_bytes() / 2**30, 1),
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        seed=seed,
        sources=_sources({"plugin": plugin, "toolbox": "eagleray_vision", "engine": "eagleray"}),
    )


def _sources(packages: dict[str, str]) -> dict[str, dict[str, str | None]]:
    distributions = packages_distributions()
    sources: dict[str, dict[str, str | None]] = {}
    for role, package in packages.items():
        spec = find_spec(package) if package else None
        if spec is None or spec.origin is None:
            continue
        names = distributions.get(package) or [_DISTRIBUTION]
        sources[role] = {
            "package": package,
            "distribution": names[0],
            "version": installed_version(names[0]),
            "revision": code_revision(Path(spec.origin).resolve().parent),
        }
    return sources


def installed_version(package: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def code_revision(folder: Path | None = None) -> str | None:
    """Return the git commit of the code in a folder (by default the engine's), with ``+`` where
    files differ from it. Outside git it is what the image, or whoever sent the code along, says
    (``EAGLERAY_REVISION``); None where nobody does.
    """
    folder = folder or Path(__file__).resolve().parent
    head = _git("rev-parse", "HEAD", folder=folder)
    if head is None:
        return os.environ.get(REVISION_VARIABLE) or None
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
