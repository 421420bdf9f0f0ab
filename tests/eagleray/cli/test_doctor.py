"""``eagleray doctor``: what is there, what is missing, what is built ahead."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.sixth_task import SquareTask

import eagleray.api
from eagleray.cli import doctor, main
from eagleray.experiment import discovery, load
from eagleray.task import Requirement, SettingsError


@pytest.fixture(autouse=True)
def squares_installed(monkeypatch):
    for module in (load, eagleray.api, discovery):
        monkeypatch.setattr(module, "task_type", lambda name: SquareTask)
    monkeypatch.setattr(doctor, "installed_tasks", lambda: {"squares": None})
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def needs(monkeypatch):
    def need(*requirements):
        monkeypatch.setattr(SquareTask, "requirements", lambda self: requirements)

    return need


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "six.yaml"
    path.write_text(f"task: squares\nstorage: {tmp_path / 'new' / 's'}\n")
    return str(path)


def row(out, what):
    (line,) = [one for one in out.splitlines() if one.startswith(f"| {what} ")]
    return [cell.strip() for cell in line.split("|")[2:4]]


def test_without_an_experiment_it_looks_at_machine_compilers_ray_and_tasks(capsys, tmp_path):
    assert main.run(["doctor", "--storage", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for what in ("GPUs", "C++ compiler", "CUDA compiler", "shared memory", "torch", "memory"):
        assert row(out, what)[0]
    assert "GB free" in row(out, f"storage {tmp_path}")[0]
    assert "when it is needed" in row(out, "Ray")[0]
    assert row(out, "task squares")[0] == "installed"


def test_what_an_experiment_needs_and_misses_gives_status_1(capsys, needs, path, tmp_path):
    needs(
        Requirement("data set", False, "set settings.root"),
        Requirement("weights", True, "not shown"),
    )
    assert main.run(["doctor", path]) == 1
    out = capsys.readouterr().out
    assert row(out, "data set") == ["MISSING", "set settings.root"]
    assert row(out, "weights") == ["found", ""]
    assert "GB free" in row(out, f"storage {tmp_path / 'new' / 's'}")[0]


def test_what_depends_on_settings_is_not_asked_for_without_an_experiment(capsys, needs):
    needs(Requirement("data set", False, "hint"))
    assert main.run(["doctor"]) == 0
    assert "data set" not in capsys.readouterr().out


def test_what_is_optional_is_told_but_not_missed(capsys, needs, path):
    needs(Requirement("fast operators", False, "slower without", optional=True))
    for arguments in (["doctor"], ["doctor", path]):
        assert main.run(arguments) == 0
        assert row(capsys.readouterr().out, "fast operators") == ["not there", "slower without"]
    assert eagleray.api.Experiment.from_file(path).missing() == []


def test_build_makes_what_can_be_made_and_tells_how_it_went(capsys, monkeypatch):
    made = []

    def requirements(self):
        build = None if made else lambda: made.append(1) or "library.so"
        return [Requirement("operators", bool(made), "hint", optional=True, build=build)]

    monkeypatch.setattr(SquareTask, "requirements", requirements)
    assert main.run(["doctor"]) == 0
    assert not made and row(capsys.readouterr().out, "operators")[0] == "not there"
    assert main.run(["doctor", "--build"]) == 0
    out = capsys.readouterr().out
    assert made == [1] and "operators: library.so" in out and row(out, "operators")[0] == "found"
    assert main.run(["doctor", "--build"]) == 0
    assert made == [1]


def test_a_build_that_fails_is_quoted_and_gives_status_1(capsys, needs):
    def fails():
        raise RuntimeError("no compiler")

    needs(Requirement("operators", False, "hint", optional=True, build=fails))
    assert main.run(["doctor", "--build"]) == 1
    assert "operators: no compiler" in capsys.readouterr().err


def test_a_ray_that_does_not_answer_is_named_at_once(capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    assert main.run(["doctor"]) == 0
    found, hint = row(capsys.readouterr().out, "Ray")
    assert "does not answer" in found and "unset RAY_ADDRESS" in hint


def test_a_task_that_cannot_be_imported_is_named(capsys, monkeypatch):
    def fails(name):
        raise SettingsError("it needs timm")

    monkeypatch.setattr(discovery, "task_type", fails)
    assert main.run(["doctor"]) == 0
    assert row(capsys.readouterr().out, "task squares") == ["not usable", "it needs timm"]


def test_a_cuda_compiler_of_another_generation_is_told(capsys, monkeypatch, tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 9.1, V9.1.85'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(doctor.torch.version, "cuda", "13.2")
    assert main.run(["doctor"]) == 0
    found, hint = row(capsys.readouterr().out, "CUDA compiler")
    assert "(9.1)" in found and "CUDA 13.2" in hint


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("evaluate: {benchmarks: [vla]}", "has no benchmark 'vla'; did you mean 'val'?"),
        ("device: cuda", "there is no CUDA device that torch can use"),
    ],
)
def test_what_run_would_refuse_after_hours_is_refused_first(
    capsys, path, setting, reason, monkeypatch
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    Path(path).write_text(f"{Path(path).read_text()}{setting}\n")
    assert main.run(["doctor", path]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "REFUSED" in out
    assert reason in out
    for verb in ("plan", "run"):
        assert main.run([verb, path, "--inline"]) == 2
        assert reason in capsys.readouterr().err
