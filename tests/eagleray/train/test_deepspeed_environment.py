"""What DeepSpeed needs around it is checked before it starts."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from eagleray.task import EaglerayError
from eagleray.train.strategies.deepspeed_environment import (
    extensions_folder,
    prepare_deepspeed,
    wait_for_builds,
)


def locked_build(folder: Path, age_s: float) -> Path:
    lock = folder / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    then = time.time() - age_s
    os.utime(lock, (then, then))
    return lock


def test_lock_of_a_killed_build_is_removed(tmp_path: Path) -> None:
    lock = locked_build(tmp_path, age_s=500)
    assert wait_for_builds(tmp_path, stale_after_s=100) == [lock]
    assert not lock.exists()


def test_living_build_is_waited_for(tmp_path: Path) -> None:
    lock = locked_build(tmp_path, age_s=0)
    timer = threading.Timer(0.5, lock.unlink)
    timer.start()
    begin = time.monotonic()
    assert wait_for_builds(tmp_path, stale_after_s=60) == []
    assert 0.4 < time.monotonic() - begin < 30


def test_missing_folder_is_fine(tmp_path: Path) -> None:
    assert wait_for_builds(tmp_path / "none", stale_after_s=1) == []


def test_without_a_compiler_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.delenv("CXX", raising=False)
    for name in ("DS_ACCELERATOR", "TORCH_EXTENSIONS_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, str(tmp_path)))
    with pytest.raises(EaglerayError, match=r"C\+\+ compiler .* and ninja"):
        prepare_deepspeed(on_gpu=False)


def test_extensions_are_built_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert extensions_folder() == Path("cache/eagleray/torch_extensions")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "elsewhere")
    assert extensions_folder() == Path("elsewhere")
