"""Archives made by strangers."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile

import pytest

from eagleray.download import DownloadError, fetch
from eagleray.download import archive as archives
from eagleray.download.archive import unpack
from eagleray.progress import Silent


def zipped(path, members, mode=0o644):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def tarred(path, members, kind=tarfile.REGTYPE, target=""):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return path


def inside(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.txt")}


@pytest.mark.parametrize("make", [zipped, tarred])
def test_an_archive_is_unpacked_with_its_folders(tmp_path, make):
    unpack(make(tmp_path / "a", {"x.txt": b"1", "d/y.txt": b"2"}), tmp_path / "out")
    assert inside(tmp_path / "out") == {"x.txt": b"1", "d/y.txt": b"2"}


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["../x.txt", "d/../../x.txt", "/x.txt", "..\\x.txt", "C:\\x.txt"])
def test_a_member_outside_the_folder_is_refused_by_name(tmp_path, make, name):
    archive = make(tmp_path / "a", {"good.txt": b"1", name: b"2"})
    with pytest.raises(DownloadError) as error:
        unpack(archive, tmp_path / "deep/out")
    assert repr(name) in str(error.value)
    assert not list(tmp_path.rglob("*.txt")) and not (tmp_path / "deep/out").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path, kind, target):
    archive = tarred(tmp_path / "a", {"link": b""}, kind, target)
    with pytest.raises(DownloadError, match="link"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_device_and_a_zipped_link_are_refused(tmp_path):
    with pytest.raises(DownloadError, match="device"):
        unpack(tarred(tmp_path / "a", {"device": b""}, tarfile.CHRTYPE), tmp_path / "out")
    link = zipped(tmp_path / "b", {"link": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(DownloadError, match="no plain file"):
        unpack(link, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DownloadError, match="neither a zip nor a tar"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_damaged_archive_leaves_nothing(tmp_path):
    archive = tarred(tmp_path / "a", {"x.txt": bytes(range(256)) * 500})
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_fetched_archive_is_unpacked_once(server, record, tmp_path):
    server.how.content = zipped(tmp_path / "a.zip", {"x.txt": b"1"}).read_bytes()
    archive = record(file="a.zip", checksum="", is_archive=True)
    for _ in range(2):
        folder = fetch(archive, tmp_path / "to", Silent())
        assert folder == tmp_path / "to/weights" and inside(folder) == {"x.txt": b"1"}
    assert len(server.how.requests) == 1


def flipped(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)
    return path


def test_flipped_bytes_of_a_compressed_tar_file_are_noticed_at_its_end(tmp_path):
    archive = tarred(tmp_path / "a", {"x.txt": os.urandom(5000)})
    for position in (-3, -7, len(archive.read_bytes()) // 2):  # length, checksum, content
        flipped(archive, position)
        with pytest.raises(DownloadError, match="cannot be unpacked"):
            unpack(archive, tmp_path / "out")
        assert [p.name for p in tmp_path.iterdir()] == ["a"]
        flipped(archive, position)
    unpack(archive, tmp_path / "out")


def test_a_damaged_header_does_not_end_a_tar_file_early(tmp_path):
    with tarfile.open(tmp_path / "a", "w") as archive:
        for name in ("x.txt", "y.txt"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(DownloadError, match="at byte 512 there is neither a member nor the end"):
        unpack(flipped(tmp_path / "a", 512), tmp_path / "out")


def test_damaged_and_encrypted_members_of_a_zip_file_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.txt", bytes(range(256)) * 20)
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(flipped(tmp_path / "a", 60), tmp_path / "out")
    whole = zipped(tmp_path / "b", {"x.txt": b"secret"}).read_bytes()
    start = whole.index(b"PK\x01\x02")
    for at in (6, start + 8):  # the flag, in the member's header and in the directory
        whole = whole[:at] + b"\x01" + whole[at + 1 :]
    (tmp_path / "b").write_bytes(whole)
    with pytest.raises(DownloadError, match=r"'x\.txt' is encrypted; unpack it yourself"):
        unpack(tmp_path / "b", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_bomb_is_refused_with_the_limit_by_name(tmp_path, make, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 10)
    bomb = make(tmp_path / "a", {"x.txt": bytes(10_000_000)})
    if make is zipped:
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.txt", bytes(10_000_000))
    with pytest.raises(DownloadError, match=r"would unpack to 10000000; .*MAX_GROWTH"):
        unpack(bomb, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(DownloadError, match="no regular file"):
        unpack(tmp_path / "a", tmp_path / "out")
