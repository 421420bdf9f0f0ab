"""Dataset folders for other programs: whole files, the readers' file last, another's data kept."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys

import pytest

from eagleray.task import EaglerayError, FolderWriter, SettingsError

_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from eagleray.task import EaglerayError, FolderWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
for name in ("new.bin", "old.bin"):
    try:
        FolderWriter(Path(sys.argv[1])).write(name, [b"x" * 3000, b"y" * 3000])
    except EaglerayError as error:
        print(error)
"""

_KILLED_IN_MID_WRITE = """
import os, signal, sys
from pathlib import Path
from eagleray.task import FolderWriter

def pieces():
    yield b"first"
    os.kill(os.getpid(), signal.SIGKILL)

FolderWriter(Path(sys.argv[1])).write("img/a.bin", pieces())
"""


def test_claim_is_kept_and_changes_with_the_folder(tmp_path):
    writer = FolderWriter(tmp_path / "out")
    name = writer.claim()
    writer.write("a.txt", b"1")
    assert pickle.loads(pickle.dumps(writer)).claim(["a.txt"]) == name
    shutil.rmtree(tmp_path / "out")
    assert writer.claim() != name


def test_owner_file_may_lie_deeper(tmp_path):
    FolderWriter(tmp_path, owner="sam/.eagleray").claim()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["sam", "sam/.eagleray"]


def test_data_of_another_origin_are_refused(tmp_path):
    (tmp_path / "metadata.bin").write_bytes(b"precious")
    with pytest.raises(SettingsError, match=r"metadata.bin.*not replaced: choose another"):
        FolderWriter(tmp_path).claim(["metadata.bin"], hint="choose another")
    assert [p.name for p in tmp_path.iterdir()] == ["metadata.bin"]


def test_file_that_does_not_fit_leaves_nothing_and_keeps_the_older_one(tmp_path):
    (tmp_path / "old.bin").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("the disk is not full") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["old.bin"]
    assert (tmp_path / "old.bin").read_bytes() == b"old"


def test_killed_writer_leaves_no_half_file_and_its_temporary_is_removed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_IN_MID_WRITE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    writer = FolderWriter(tmp_path)
    assert not writer.has("img/a.bin")
    assert len(list((tmp_path / "img").iterdir())) == 1
    writer.remove_temporaries()
    assert list((tmp_path / "img").iterdir()) == []


def test_pieces_that_cannot_be_made_leave_nothing(tmp_path):
    def pieces():
        yield b"first"
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError):
        FolderWriter(tmp_path).write("a.bin", pieces())
    assert list(tmp_path.iterdir()) == []


def test_file_by_which_readers_know_the_data_comes_last(tmp_path):
    writer = FolderWriter(tmp_path)

    def lists():
        assert not writer.has("metadata.bin")
        yield b"1\n"

    writer.commit({"lst/train.txt": lists()}, "metadata.bin", b"all")
    assert writer.has("lst/train.txt", "metadata.bin")
    (tmp_path / "broken").write_text("in the way")
    with pytest.raises(EaglerayError, match="broken/b"):
        writer.commit({"broken/b": b""}, "metadata.bin", b"new")
    assert (tmp_path / "metadata.bin").read_bytes() == b"all"


def test_links_take_the_place_of_older_files(tmp_path):
    writer, photo = FolderWriter(tmp_path / "out"), tmp_path / "photo.png"
    photo.write_bytes(b"png")
    writer.write("img/a.png", b"old")
    writer.link("img/a.png", photo)
    assert writer.path("img/a.png").is_symlink()
    assert writer.path("img/a.png").read_bytes() == b"png"
    writer.delete("img/a.png")
    assert not writer.has("img/a.png")
    assert photo.read_bytes() == b"png"


@pytest.mark.parametrize("name", ["../x", "/x", ""])
def test_names_never_leave_the_folder(tmp_path, name):
    with pytest.raises(EaglerayError, match="relative"):
        FolderWriter(tmp_path / "root").write(name, b"")
