"""Archives made by strangers."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest

from eagleray.download import DownloadError, fetch
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
