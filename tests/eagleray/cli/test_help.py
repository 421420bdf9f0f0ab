"""Help, completion and the verbs that look at runs are there at once: nothing heavy is imported."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from eagleray.cli import completion, main
from eagleray.runs.lease import Lease
from eagleray.runs.run_folder import RunFolder

LIGHT = """
import sys
from eagleray.cli.main import run
for arguments in (["--help"], ["train", "--help"], ["list", "--help"], ["list"], ["show"]):
    assert run(arguments) == 0, arguments
    heavy = {"torch", "ray", "scipy", "deepspeed", "pyarrow"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""


def test_nothing_heavy_is_imported_before_the_first_word(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("there are no runs in storage") == 2
    assert "loading" not in done.stderr


@pytest.mark.parametrize("name", main.VERBS)
def test_every_verb_has_a_page_of_help(name, capsys):
    assert main.run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: eagleray {name}")
    assert len(text.splitlines()) < 45
    headings = [block for block in text.split("\n\n") if block.strip().endswith(":")]
    assert not headings, "a heading with nothing below it"
    assert ("--train.*" in text) == main.VERBS[name].takes_experiment


def test_a_verb_that_loads_for_seconds_says_so_first(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(main, "_verb", lambda name: lambda arguments: 0)
    assert main.run(["run", "a.yaml"]) == 0
    assert capsys.readouterr().err == "eagleray run: loading PyTorch, Ray and the task ...\n"


COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
$(complete -p eagleray | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${COMPREPLY[*]}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "eagleray"
    path.write_text(completion.script("bash"))
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["trai"], "train"),
        (["train", "a.yaml", "--train.num"], "--train.num-workers"),
        (["show", "--format", "l"], "latex"),
        (["predict", "--out"], "--output"),
    ],
)
def test_bash_completes_verbs_flags_and_choices(bash_script, typed, expected):
    command = ["bash", "-c", COMPLETE, "bash", str(bash_script), "eagleray", *typed]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [
        expected
    ]


@pytest.fixture
def storage(tmp_path):
    for name, step in (("exp/main-1", 5), ("exp/main-2", 7)):
        run = RunFolder(str(tmp_path / "runs" / name))
        run.write(run.EXPERIMENT, b"task: tiny\n")
        run.update_summary(task="tiny", state="trained", step=step)
        run.write("log/0.log", b"one\ntwo\nthree\nhalf a li")
    return tmp_path


def test_list_shows_the_newest_runs(storage, capsys):
    assert main.run(["list", "--storage", str(storage), "--limit", "1"]) == 0
    text = capsys.readouterr().out
    assert "exp/main-2" in text
    assert "exp/main-1" not in text
    assert "1 older ones" in text


def test_tail_says_the_last_whole_lines_and_how_it_ended(storage, capsys):
    given = ["main-1", "--storage", str(storage), "--lines", "2"]
    assert main.run(["tail", *given]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0.log: two", "0.log: three", "exp/main-1: trained"
    ]  # fmt: skip


def test_tail_follows_a_run_until_it_ends(storage, capsys, monkeypatch):
    run = RunFolder(str(storage / "runs" / "exp" / "main-1"))
    lease = Lease(run)
    lease.__enter__()

    def another_second(_):
        run.write("log/0.log", b"one\ntwo\nthree\nfour\n")
        run.update_summary(state="failed", error="it broke")
        lease.__exit__(None, None, None)

    monkeypatch.setattr("eagleray.cli.listing.time.sleep", another_second)
    given = ["main-1", "--storage", str(storage), "--lines", "0"]
    assert main.run(["tail", *given]) == 1
    assert capsys.readouterr().out.splitlines() == ["0.log: four", "exp/main-1: failed: it broke"]
