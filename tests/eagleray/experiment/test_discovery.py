"""A broken plugin is named with its reason and its package, and breaks no other."""

from __future__ import annotations

from importlib.metadata import Distribution, EntryPoint
from typing import ClassVar

import pytest
from tests.sixth_task import SquareSettings, SquareTask

from eagleray.cli import main
from eagleray.download import catalog
from eagleray.experiment import discovery
from eagleray.experiment.discovery import BrokenTaskError, task_type
from eagleray.task import BaseTask, Settings, Training


class Package(Distribution):
    """A distribution that is not on the disk."""

    def __init__(self, name: str, extras: str = "") -> None:
        self._texts = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\n{extras}"}

    def read_text(self, filename):
        return self._texts.get(filename)

    def locate_file(self, path):
        return path


class Point(EntryPoint):
    """An entry point that loads what a test says."""

    def load(self):
        if isinstance(LOADED[self.value], BaseException):
            raise LOADED[self.value]
        return LOADED[self.value]


class Abstract(Training):
    name: ClassVar[str] = "abstract"
    summary: ClassVar[str] = "lacks its methods"
    settings_type: ClassVar[type[Settings]] = SquareSettings


class Named(BaseTask):
    name: ClassVar[str] = "another"
    summary: ClassVar[str] = "has another name"
    settings_type: ClassVar[type[Settings]] = SquareSettings


class Raising(BaseTask):
    name: ClassVar[str] = "raising"
    summary: ClassVar[str] = "raises where it is asked"
    settings_type: ClassVar[type[Settings]] = SquareSettings

    def __init__(self, settings: Settings) -> None:
        raise KeyError("settings")

    @classmethod
    def downloads(cls):
        return 1 / 0


class Bare(BaseTask):
    summary: ClassVar[str] = "says too little"


LOADED = {
    "a:squares": SquareTask,
    "a:abstract": Abstract,
    "a:named": Named,
    "a:raising": Raising,
    "a:bare": Bare,
    "a:no_task": dict,
    "a:missing": ImportError("No module named 'cv2'"),
    "a:crash": ZeroDivisionError("division by zero"),
    "a:exit": SystemExit(3),
    "b:twice": SquareTask,
    "c:twice": SquareTask,
}


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    points = []
    for value in LOADED:
        package = f"plugin-{value[0]}"
        extras = "Provides-Extra: missing\n" if value == "a:missing" else ""
        point = Point(value.partition(":")[2], value, discovery.ENTRY_POINT_GROUP)
        points.append(point._for(Package(package, extras)))

    def entry_points(group, name=None):
        return [p for p in points if name in (None, p.name)]

    monkeypatch.setattr(discovery, "entry_points", entry_points)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("missing", ["No module named 'cv2'", "pip install 'plugin-a[missing]'"]),
        ("crash", ["ZeroDivisionError: division by zero", "'plugin-a'", "test_discovery.py"]),
        ("exit", ["SystemExit", "'plugin-a'"]),
        ("abstract", ["lacks methods", "build, dataset, losses, phases"]),
        ("named", ["calls itself 'another'", "agree"]),
        ("bare", ["name, settings_type"]),
        ("no_task", ["no subclass of eagleray.task.BaseTask"]),
        ("twice", ["installed twice", "b:twice of 'plugin-b'", "c:twice of 'plugin-c'"]),
    ],
)
def test_a_broken_plugin_is_named_with_its_reason(name, parts):
    with pytest.raises(BrokenTaskError) as error:
        task_type(name)
    assert all(part in str(error.value) for part in (repr(name), *parts)), str(error.value)


def test_the_others_are_listed_and_their_downloads_found(capsys):
    assert main.run(["tasks"]) == 0
    text = capsys.readouterr().out
    assert text.count("not usable") == len({v.partition(":")[2] for v in LOADED}) - 1
    assert SquareTask.summary in text
    assert "KeyError" in text
    assert catalog() == {}


def test_schema_leaves_broken_plugins_out_and_says_so(capsys):
    assert main.run(["schema"]) == 0
    shown = capsys.readouterr()
    assert '"squares"' in shown.out
    assert "left out: task 'crash'" in shown.err
