"""What DeepSpeed needs around it: an accelerator's name, a compiler, ninja, and a cache without
stale locks.

DeepSpeed compiles an extension when an engine starts for the first time, also on the CPU.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path

from eagleray.task import EaglerayError

_log = logging.getLogger(__name__)

STALE_AFTER_S = 120.0
"""A build folder in which nothing was written for so long, but is locked, belongs to a killed
build.
"""


def extensions_folder() -> Path:
    """Return where just-in-time extensions are built: ``TORCH_EXTENSIONS_DIR``, or the user's
    cache.
    """
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "eagleray" / "torch_extensions"


def prepare_deepspeed(*, on_gpu: bool) -> None:
    """Set DeepSpeed's environment in this process; call it before DeepSpeed is imported.

    Args:
        on_gpu: Whether the model is on a GPU.

    Raises:
        EaglerayError: There is no C++ compiler or no ninja.
    """
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["TORCH_EXTENSIONS_DIR"] = str(extensions_folder())
    binaries = str(Path(sys.executable).parent)
    if binaries not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = binaries + os.pathsep + os.environ.get("PATH", "")
    missing = missing_build_tools()
    if missing:
        raise EaglerayError(
            "strategy 'deepspeed' compiles a small extension at its first start and does not find "
            f"{' and '.join(missing)}: install a C++ compiler (g++) and ninja (pip install ninja), "
            "or use strategy 'ddp', which needs neither"
        )
    from torch.utils import cpp_extension  # slow to import, and looks for CUDA

    if hasattr(cpp_extension, "FileBaton"):
        wait_for_builds(extensions_folder(), STALE_AFTER_S)


def missing_build_tools() -> list[str]:
    """Return the tools that DeepSpeed's first start needs and that are not on the PATH."""
    compilers = [os.environ.get("CXX") or "c++", "g++", "clang++"]
    missing = [] if any(shutil.which(c) for c in compilers) else ["a C++ compiler (c++, g++)"]
    return missing if shutil.which("ninja") else [*missing, "ninja"]


def wait_for_builds(folder: Path, stale_after_s: float) -> list[Path]:
    """Wait while others build DeepSpeed's extensions, and remove the locks of builds that were
    killed.

    For versions of torch whose lock is the mere existence of a file (``FileBaton``), which wait for
    ever; later ones lock through the operating system and leave the file behind on purpose.

    Args:
        folder: The extensions folder.
        stale_after_s: Seconds without any file written after which a lock is stale.

    Returns:
        The locks that were removed.
    """
    removed = []
    for lock in folder.glob("deepspeed_*/lock"):
        while lock.exists():
            written = max((_modified(f) for f in lock.parent.iterdir()), default=0.0)
            idle_s = time.time() - written
            if idle_s >= stale_after_s:
                _log.warning("removing the lock %s of a build that was killed", lock)
                lock.unlink(missing_ok=True)
                removed.append(lock)
            else:
                time.sleep(min(1.0, stale_after_s - idle_s))
    return removed


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
