"""``eagleray download``: names, lists, files given by hand."""

from __future__ import annotations

import re
import sys

import pytest

from eagleray.cli import main
from eagleray.download import catalog, find_download
from eagleray.download.fetch import is_whole
from eagleray.experiment.discovery import installed_tasks
from eagleray.task import Download, SettingsError, Task


def record(name="one", **values):
    rest = {"summary": "a file", "url": "http://host/a", "license": "CC0", "file": "a.bin"}
    return Download(name, **{**rest, **values})


def offering(*records):
    return type("Offering", (Task,), {"downloads": classmethod(lambda cls: records)})


@pytest.fixture
def offered(monkeypatch):
    def offer(**tasks):
        module = sys.modules["eagleray.download.fetch"]
        monkeypatch.setattr(module, "installed_tasks", lambda: dict.fromkeys(tasks))
        monkeypatch.setattr(module, "task_type", lambda name: tasks[name])

    return offer


def test_an_unknown_name_names_the_nearest(capsys):
    assert main.run(["download", "sam_vit_hh"]) == 2
    assert "did you mean 'sam_vit_h'" in capsys.readouterr().err


def test_the_list_tells_license_and_checksum_of_every_record(capsys):
    assert main.run(["download", "--list"]) == 0
    out = capsys.readouterr().out
    for found in catalog().values():
        assert found.name in out and found.license in out
    assert "md5 7046e54e..." in out and "sha256 0676ba61 " in out


def test_records_are_complete():
    for found in catalog().values():
        assert re.fullmatch(r"[a-z0-9_]+", found.name)
        assert re.match(r"https?://", found.url)
        assert found.summary and found.license and "/" not in found.file
        kind, _, digits = found.checksum.partition(":")
        assert not digits or (kind in ("md5", "sha256") and re.fullmatch("[0-9a-f]{6,64}", digits))


def test_checksums_are_whole_or_leading_digits():
    assert is_whole("md5:" + "0" * 32) and is_whole("sha256:" + "0" * 64)
    assert not is_whole("md5:" + "0" * 31) and not is_whole("")


def test_two_tasks_may_share_a_record_but_not_a_name(offered):
    offered(a=offering(record()), b=offering(record()))
    assert find_download("one") == record()
    offered(a=offering(record()), b=offering(record(url="http://host/b")))
    with pytest.raises(SettingsError, match="http://host/b 'one'"):
        catalog()


def test_what_needs_a_person_fails_with_the_instruction(offered, capsys, tmp_path):
    offered(a=offering(record(by_hand="open http://host/a with a browser")))
    assert main.run(["download", "one", "--to", str(tmp_path)]) == 1
    assert "--from FILE" in capsys.readouterr().err
    mine = tmp_path / "mine"
    mine.write_bytes(b"content")
    arguments = ["download", "one", "--to", str(tmp_path / "to"), "--from", str(mine)]
    assert main.run(arguments) == 0
    assert "not verified" in capsys.readouterr().out
    assert (tmp_path / "to/a.bin").read_bytes() == b"content"


def test_a_file_belongs_to_one_name(offered, capsys, tmp_path):
    offered(a=offering(record(), record("two")))
    assert main.run(["download", "one", "two", "--from", str(tmp_path / "x")]) == 2
    assert "belongs to one name" in capsys.readouterr().err


def test_every_installed_task_answers():
    assert installed_tasks()
    assert {"sam_vit_h", "seamseg_vistas_r50", "torchvision_resnet50"} <= set(catalog())
