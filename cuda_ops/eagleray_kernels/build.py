"""Building the compiled operators, ahead of time or at their first use.

One shared library per device type, each from one translation unit, named after a hash of everything
that went into it: sources, flags, versions. A finished library is therefore reused without a
compiler and never mixed up with another; concurrent builders wait for each other on a file lock,
which the operating system releases when its holder dies.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from eagleray_kernels.errors import KernelBuildError

Device = Literal["cpu", "cuda"]

_log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent / "csrc"
# Contracted multiply-adds would round differently from PyTorch's separate operations, and marching
# must agree with its twin bit for bit.
_CPP_FLAGS = ("-O3", "-fopenmp", "-ffp-contract=off")
_CUDA_FLAGS = ("-O3", "--fmad=false")
# Where no device is present to ask: Ampere, and Hopper with code for what comes after it.
_DEFAULT_CUDA_ARCHITECTURES = "8.0;9.0+PTX"
_MESSAGE_CHARS = 1500


@dataclass(frozen=True)
class DeviceStatus:
    """What is known about the compiled operators of one device type."""

    device: Device
    library: Path
    """Where the shared library is or would be."""
    is_built: bool
    obstacle: str
    """Why it cannot be built here; empty if it can."""


@dataclass(frozen=True)
class KernelStatus:
    """What a doctor command shows about the operators."""

    cpp_compiler: str
    """Path of the C++ compiler; empty if there is none."""
    nvcc: str
    """Path of the CUDA compiler; empty if there is none."""
    torch_version: str
    torch_cuda_version: str
    """CUDA version that PyTorch was built for; empty for a CPU build."""
    cuda_device: str
    """Name of the first CUDA device; empty if there is none."""
    devices: tuple[DeviceStatus, ...]


def kernel_status() -> KernelStatus:
    """Report compilers and built operators without building anything."""
    return KernelStatus(
        cpp_compiler=_cpp_compiler() or "",
        nvcc=shutil.which("nvcc") or "",
        torch_version=torch.__version__,
        torch_cuda_version=torch.version.cuda or "",
        cuda_device=torch.cuda.get_device_name(0) if torch.cuda.is_available() else "",
        devices=tuple(
            DeviceStatus(device, library_path(device), _is_complete(device), obstacle(device))
            for device in get_args(Device)
        ),
    )


def obstacle(device: Device) -> str:
    """Name what is missing to compile the operators of a device type; empty if nothing is.

    A CUDA device is not needed to compile for one.
    """
    if _cpp_compiler() is None:
        return "no C++ compiler found (install g++ or clang++, or point CXX at one)"
    if shutil.which("ninja", path=_search_path()) is None:
        return "ninja not found (pip install ninja)"
    if device == "cuda" and torch.version.cuda is None:
        return "this PyTorch is a CPU build (install one built for CUDA)"
    if device == "cuda" and shutil.which("nvcc") is None:
        return "nvcc not found (install the CUDA toolkit and put nvcc on PATH)"
    return ""


def library_path(device: Device) -> Path:
    """Where the library of a device type is or would be, in the user's cache.

    `TORCH_EXTENSIONS_DIR` sets another folder.
    """
    name = f"eagleray_kernels_{device}_{_fingerprint(device)}"
    return _cache_folder() / name / f"{name}.so"


def build_library(device: Device = "cpu") -> Path:
    """Compile the operators of one device type unless that is done.

    Args:
        device: `cpu` or `cuda`.

    Returns:
        The path of the shared library.

    Raises:
        KernelBuildError: if something is missing or compilation fails; the message holds the end of
            the compiler's output.
    """
    library = library_path(device)
    if _is_complete(device):
        return library
    missing = obstacle(device)
    if missing:
        raise KernelBuildError(missing)
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot write {library.parent}: {error} (set TORCH_EXTENSIONS_DIR)"
        raise KernelBuildError(message) from error
    with _locked(library):
        if not _is_complete(device):
            _compile(device, library)
            _marker(library).touch()
    return library


def load(device: Device) -> None:
    """Make the compiled operators of one device type available as `torch.ops.eagleray.<name>`.

    Raises:
        KernelBuildError: as `build_library` does, or if the library cannot be loaded.
    """
    library = build_library(device)
    try:
        load_library: Callable[[str], None] = torch.ops.load_library
        load_library(str(library))
    except OSError as error:
        message = f"cannot load {library}: {error}"
        raise KernelBuildError(message) from error


def _cpp_compiler() -> str | None:
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    return next((found for name in names if (found := shutil.which(name))), None)


def _search_path() -> str:
    """PATH with the scripts of this Python, where pip puts ninja."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _cache_folder() -> Path:
    if "TORCH_EXTENSIONS_DIR" in os.environ:
        return Path(os.environ["TORCH_EXTENSIONS_DIR"])
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "eagleray" / "torch_extensions"


def _cuda_architectures() -> str:
    """What TORCH_CUDA_ARCH_LIST is for the build; empty leaves the choice to the present device."""
    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    return chosen or ("" if torch.cuda.is_available() else _DEFAULT_CUDA_ARCHITECTURES)


def _fingerprint(device: Device) -> str:
    digest = hashlib.sha256()
    parts = [device, torch.__version__, platform.machine(), *_CPP_FLAGS]
    if device == "cuda":
        parts += [str(torch.version.cuda), _cuda_architectures(), *_CUDA_FLAGS]
        if torch.cuda.is_available():
            parts.append(str(torch.cuda.get_device_capability()))
    digest.update("\0".join(parts).encode())
    for source in sorted(_SOURCES.iterdir()):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _marker(library: Path) -> Path:
    return library.with_suffix(".complete")


def _is_complete(device: Device) -> bool:
    library = library_path(device)
    return library.exists() and _marker(library).exists()


@contextlib.contextmanager
def _locked(library: Path) -> Iterator[None]:
    """Hold the folder's build lock.

    PyTorch's own lock is a file that outlives a killed builder and then blocks for ever. Whoever
    holds ours is the only builder, so one of PyTorch's found here belongs to nobody.
    """
    with (library.parent / "builder.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        stale = library.parent / "lock"
        if stale.exists():
            _log.warning("removing the lock that a killed build left: %s", stale)
            stale.unlink()
        yield


def _compile(device: Device, library: Path) -> None:
    from torch.utils import cpp_extension

    suffix = "cpp" if device == "cpu" else "cu"
    environment = {"PATH": _search_path()}
    if device == "cuda":
        toolkit = _cuda_toolkit()
        environment["CUDA_HOME"] = str(toolkit)
        if _cuda_architectures():
            environment["TORCH_CUDA_ARCH_LIST"] = _cuda_architectures()
        cpp_extension.CUDA_HOME = str(toolkit)
    _log.info("compiling the operators for %s into %s", device, library.parent)
    try:
        with _environment(environment):
            cpp_extension.load(
                name=library.stem,
                sources=[str(_SOURCES / f"all.{suffix}")],
                extra_cflags=list(_CPP_FLAGS),
                extra_cuda_cflags=list(_CUDA_FLAGS),
                extra_ldflags=["-fopenmp"],
                build_directory=str(library.parent),
                with_cuda=device == "cuda",
                is_python_module=False,
            )
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        message = f"compiling for {device} failed: {str(error)[-_MESSAGE_CHARS:]}"
        raise KernelBuildError(message) from error


def _cuda_toolkit() -> Path:
    """The toolkit's folder as nvcc reports it; the nvcc on PATH may be a link or a script."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.cu"
        source.touch()
        answer = subprocess.run(
            ["nvcc", "--dryrun", "-c", str(source)], capture_output=True, text=True, check=False
        )
    found = re.search(r"^#\$ TOP=(.+)$", answer.stderr, flags=re.MULTILINE)
    if found is None:
        message = f"nvcc does not tell where its toolkit is: {answer.stderr[-_MESSAGE_CHARS:]}"
        raise KernelBuildError(message)
    return Path(found.group(1)).resolve()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    saved = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
