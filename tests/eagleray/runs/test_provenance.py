"""Provenance of a run: commands, packages, patches without secrets, consoles, the machine."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from eagleray.runs import provenance
from eagleray.runs.console import MOST_BYTES, console_kept
from eagleray.runs.provenance import patch_of, read_commands, recorded
from eagleray.storage import Store
from eagleray.train.machine_use import MachineUse


@pytest.fixture
def run(tmp_path):
    return Store(str(tmp_path / "run"))


@pytest.fixture
def code(tmp_path):
    """A folder under git with one committed file."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("one = 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", "-C", str(folder), *who, *command], check=True)
    return folder


def test_code_as_committed_has_no_patch(code):
    assert patch_of(code) == (b"", "")


def test_a_changed_file_is_kept_as_a_patch(code, run, monkeypatch):
    (code / "a.py").write_text("one = 2\n")
    monkeypatch.setattr(provenance, "_source_folders", lambda plugin: [code, code])
    with recorded(run, "train"):
        (record,) = read_commands(run)
        assert record.seconds is None
    (record,) = read_commands(run)
    assert record.outcome == "done" and record.seconds >= 0 and record.not_kept == ()
    (path,) = record.patches
    assert b"+one = 2" in run.read(path)
    assert "pydantic==" in run.read(provenance.PACKAGES).decode()
    assert record.host and record.user and record.command


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("password = 'correct horse1'".replace(" horse", "horse"), "password or token"),
        ('api_key: "0123456789abcdef"', "password or token"),
        ("k = AKIA" + "ABCDEFGHIJKLMNOP", "AWS key"),
        ("t = ghp_" + "a1" * 18, "GitHub token"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "private key"),
    ],
)
def test_a_patch_that_may_hold_a_secret_is_not_kept(code, line, kind):
    (code / "a.py").write_text(f"one = 1\n{line}\n")
    content, reason = patch_of(code)
    assert content == b""
    assert reason == f"the patch is not kept: a.py seems to hold a {kind}"


@pytest.mark.parametrize("line", ["token = None", "password = os.environ['P']", "num_tokens = 5"])
def test_words_alone_are_no_secret(code, line):
    (code / "a.py").write_text(f"one = 1\n{line}\n")
    assert line.encode() in patch_of(code)[0]


def test_a_huge_patch_is_not_read_to_its_end(code):
    (code / "a.py").write_text("x = 1\n" * 200_000)
    content, reason = patch_of(code, most_bytes=1000)
    assert content == b""
    assert reason == "the patch is longer than 1000 bytes and is not kept"


def test_a_folder_without_git_has_none(run, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_source_folders", lambda plugin: [tmp_path])
    with pytest.raises(KeyboardInterrupt), recorded(run, "evaluate"):
        raise KeyboardInterrupt
    (record,) = read_commands(run)
    assert (record.patches, record.not_kept, record.outcome) == ((), (), "KeyboardInterrupt")


def test_a_console_is_kept_live_and_with_its_traceback(run, capsys):
    with pytest.raises(ZeroDivisionError), console_kept(run, "3"):
        print("step 1")
        print("bar \x1b[2K", file=sys.stderr)
        assert run.read("log/console-3.txt") == b"step 1\n"
        raise ZeroDivisionError("broken")
    text = run.read("log/console-3.txt").decode()
    assert text.splitlines()[-1] == "ZeroDivisionError: broken"
    assert "bar" not in text
    assert capsys.readouterr().out == "step 1\n", "it still goes to the terminal, once"


def test_a_console_has_an_end(run, capsys):
    with console_kept(run, "0"):
        print("x" * (MOST_BYTES + 1))
        print("more")
    content = run.read("log/console-0.txt")
    assert content == b"[what follows is too much and is not kept]\n"


def test_an_object_store_gets_the_console_in_the_end(capsys):
    run = Store("memory://console-of-a-run")
    with console_kept(run, "0"):
        print("one")
        assert not run.exists("log/console-0.txt")
    assert run.read("log/console-0.txt") == b"one\n"


def test_the_machine_is_measured():
    use = MachineUse()
    values = use.read()
    assert {"system/cpu_percent", "system/process_memory_gb"} <= set(values)
    assert values["system/process_memory_gb"] > 0.01
    assert values["system/memory_gb"] >= values["system/process_memory_gb"] * 0.5


def test_gpus_are_measured_where_the_driver_says(monkeypatch):
    class NVMLError(Exception):
        pass

    def rates(handle):
        if handle == 1:
            raise NVMLError
        return types.SimpleNamespace(gpu=42)

    stand_in = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=3e9),
        nvmlDeviceGetUtilizationRates=rates,
    )
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    values = MachineUse().read()
    assert values["system/gpu0_percent"] == 42.0
    assert values["system/gpu1_memory_gb"] == 3.0
    assert "system/gpu1_percent" not in values
