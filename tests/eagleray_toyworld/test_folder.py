"""Dataset folders: nothing half-written, nothing mixed, interrupted work continues."""

import os
import signal
import subprocess
import sys
import time

import pytest

from eagleray.task import EaglerayError
from eagleray_toyworld.formats.folder import DatasetFolder, FolderError
from eagleray_toyworld.formats.replica import write_replica

_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from eagleray.task import EaglerayError
from eagleray_toyworld.formats.folder import DatasetFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
for name in ("new.bin", "old.bin"):
    try:
        folder = DatasetFolder(Path(sys.argv[1]), {})
        folder.write({name: [b"x" * 3000, b"y" * 3000]})
    except EaglerayError as error:
        print(error)
"""

_WRITE_FOREVER = """
import sys
from pathlib import Path
from eagleray_toyworld.formats.replica import write_replica
write_replica(Path(sys.argv[1]), seed=6, index=0, num_views=int(sys.argv[2]), size_hw=(20, 30))
"""


def _python(code, *arguments):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return [sys.executable, "-c", code, *arguments], env


def test_file_that_does_not_fit_leaves_nothing_and_keeps_the_older_one(tmp_path):
    (tmp_path / "old.bin").write_bytes(b"old")
    command, env = _python(_FULL_DISK, str(tmp_path))
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.count("the disk is not full") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.bin", "toyworld.json"]
    assert (tmp_path / "old.bin").read_bytes() == b"old"


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EaglerayError, match="file/sub"):
        DatasetFolder(tmp_path / "file" / "sub", {})


def test_folder_of_another_recipe_is_refused(tmp_path):
    DatasetFolder(tmp_path, {"seed": 1})
    DatasetFolder(tmp_path, {"seed": 1})
    with pytest.raises(FolderError, match="another recipe"):
        DatasetFolder(tmp_path, {"seed": 2})


def test_name_that_leaves_the_folder_is_refused(tmp_path):
    folder = DatasetFolder(tmp_path / "root", {})
    for name in ("../x", "/x", ""):
        with pytest.raises(EaglerayError, match="relative"):
            folder.write({name: b""})


def test_killed_generation_continues_to_the_same_bytes(tmp_path):
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    num_views = "25"
    command, env = _python(_WRITE_FOREVER, str(broken), num_views)
    worker = subprocess.Popen(command, env=env)
    deadline = time.monotonic() + 60
    while len(list(broken.glob("results/rgb/*.jpg"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert not (broken / "transforms_train.json").exists()
    for folder in (broken, whole):
        write_replica(folder, seed=6, index=0, num_views=int(num_views), size_hw=(20, 30))

    def content(folder):
        files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".tmp-"))
        return {p.relative_to(folder): p.read_bytes() for p in files}

    assert content(broken) == content(whole)
