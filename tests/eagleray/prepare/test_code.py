"""Results that other code has made are told, and computed anew or kept as asked."""

from __future__ import annotations

import sys
import textwrap
import time
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest
from tests.eagleray.prepare.test_faults import Squares
from tests.eagleray.stages import folder_of, run

from eagleray.experiment.discovery import task_type
from eagleray.prepare import StageRun, code
from eagleray.prepare.code import Code, code_of
from eagleray.progress import Silent

STAGE = """
    from eagleray.task import Item, Record, Settings, Stage
    from toy_plugin import helper

    class Doubling(Stage):
        name = "doubling"
        schema = {"value": "int64"}

        def settings(self):
            return Settings()

        def items(self, upstream):
            yield from (Item(str(i), "", {"i": i}) for i in range(6))

        def load(self, item):
            return item

        def process(self, samples):
            return [[Record(i.key, {"value": helper.double(i.payload["i"])})] for i in samples]
"""


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Return a function that (re)writes a module of a plugin and imports its stage anew."""
    package = tmp_path / "src" / "toy_plugin"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    contents = {
        "__init__": "",
        "stage": textwrap.dedent(STAGE),
        "helper": "def double(i): return 2 * i\n",
        "apart": "X = 1\n",
    }

    def write(**changed):
        contents.update(changed)
        for name, text in contents.items():
            path = package / f"{name}.py"
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        for name in [m for m in sys.modules if m.split(".")[0] == "toy_plugin"]:
            del sys.modules[name]
        invalidate_caches()
        return import_module("toy_plugin.stage").Doubling()

    return write


def compute(stage, place, **options):
    notes = Notes()
    summary, rows = run(stage, place, progress=notes, **options)
    return [rows[key]["value"] for key in rows.keys()], summary, "\n".join(notes.notes)  # noqa: SIM118


def test_results_of_other_code_are_told_and_computed_anew_where_asked(plugin, tmp_path):
    values, _, notes = compute(plugin(), tmp_path / "s")
    assert values[3] == 6 and "WARNING" not in notes
    mended = plugin(helper="def double(i): return 20 * i\n")
    values, summary, notes = compute(mended, tmp_path / "s")
    assert values[3] == 6 and summary.computed_shards == 0
    assert "toy_plugin.helper" in notes and "--again" in notes and "--keep" in notes
    assert "WARNING" in compute(mended, tmp_path / "s")[2]  # until it is decided
    values, _, notes = compute(mended, tmp_path / "s", other_code="again")
    assert values[3] == 60
    assert "WARNING" not in compute(mended, tmp_path / "s")[2]


def test_results_of_other_code_may_be_kept(plugin, tmp_path):
    compute(plugin(), tmp_path / "s")
    mended = plugin(helper="def double(i): return i + i\n")
    values, summary, _ = compute(mended, tmp_path / "s", other_code="keep")
    assert values[3] == 6 and summary.computed_shards == 0
    assert "WARNING" not in compute(mended, tmp_path / "s")[2]


def test_comments_and_modules_that_are_not_imported_change_nothing(plugin, tmp_path):
    compute(plugin(), tmp_path / "s")
    commented = plugin(helper='"""Doubles."""\ndef double(i):\n    # twice\n    return 2 * i\n')
    assert "WARNING" not in compute(commented, tmp_path / "s")[2]
    assert "WARNING" not in compute(plugin(apart="X = 2\n"), tmp_path / "s")[2]


def test_results_without_a_record_of_their_code_are_taken(plugin, tmp_path):
    compute(plugin(), tmp_path / "s")
    (tmp_path / "s/code.json").unlink()
    assert "WARNING" not in compute(plugin(helper="double = abs\n"), tmp_path / "s")[2]


def test_what_was_computed_anew_upstream_is_told_downstream(tmp_path):
    _, rows = run(Squares(3), tmp_path / "up")
    below = StageRun(Squares(3), folder_of(tmp_path / "down"), also_read={"squares": rows})
    before = below.code()
    folder_of(tmp_path / "up").write_code(Code(modules={"other": "1"}))
    assert before.changes(below.code()) == ["what squares gave"]


def test_digests_of_another_python_are_not_compared():
    assert Code("3.11", {"a": "1"}).changes(Code("3.12", {"a": "2"})) == []


def test_a_task_is_followed_through_its_toolbox_and_no_library():
    stage = next(iter(task_type("toyworld")(task_type("toyworld").settings_type()).stages()))
    modules = code_of(stage, {}).modules
    packages = {module.split(".")[0] for module in modules}
    assert "eagleray_toyworld" in packages and packages <= {"eagleray_toyworld", "eagleray_vision"}
    assert "eagleray_toyworld.checkpoint_import" not in modules


def test_the_digest_costs_little(tmp_path):
    stage = next(iter(task_type("seamseg").__mro__))
    begin = time.perf_counter()
    assert code._digests([stage.__module__], {"eagleray_seamseg"})
    first = time.perf_counter() - begin
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        found = code._digests([stage.__module__], {"eagleray_seamseg"})
        times.append(time.perf_counter() - begin)
    print(f"{len(found)} modules: first {first:.3f} s, then {min(times):.4f} s")
    assert min(times) < 0.05
    assert Path(str(sys.modules[stage.__module__].__file__)).is_file()
