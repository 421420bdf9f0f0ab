"""Archives of weights that are damaged, encrypted, too large or no files."""

import os
import zipfile

import pytest

from eagleray_vision.weights import archive as archives
from eagleray_vision.weights.archive import is_archive, open_archive
from eagleray_vision.weights.tensors import WeightFileError


def archive(path, content=bytes(5000), method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr("w.pth", content)
    return path


def refusal(path):
    assert is_archive(path)
    with pytest.raises(WeightFileError) as error, open_archive(path):
        pass
    return str(error.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_data_are_refused(tmp_path, method):
    whole = archive(tmp_path / "a.zip", os.urandom(500), method).read_bytes()
    for position in (60, 80, 300):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(damaged)
        assert "cannot be unpacked" in refusal(tmp_path / "a.zip")


def test_an_encrypted_member_is_refused_by_name(tmp_path):
    whole = bytearray(archive(tmp_path / "a.zip").read_bytes())
    for at in (6, whole.index(b"PK\x01\x02") + 8):
        whole[at] |= 1
    (tmp_path / "a.zip").write_bytes(whole)
    assert "member 'w.pth' is encrypted" in refusal(tmp_path / "a.zip")


def test_a_bomb_is_refused_with_the_limit_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_WEIGHTS_BYTES", 1000)
    told = refusal(archive(tmp_path / "a.zip"))
    assert "'w.pth' (weight file) would unpack to 5000 bytes, allowed are 1000" in told
    assert "MAX_WEIGHTS_BYTES" in told


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    os.mkfifo(tmp_path / "a.pth")
    assert "no regular file" in refusal(tmp_path / "a.zip")
    assert not is_archive(tmp_path / "a.pth")
