"""Choosing between compiled operators and twins, and falling back."""

import json
import os
import subprocess
import sys

import pytest
import torch

import eagleray_kernels as kernels

SCRIPT = """
import json, os, warnings, torch
import eagleray_kernels as kernels

def encode(choice):
    os.environ["EAGLERAY_KERNELS"] = choice
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            codes = [kernels.encode_morton(torch.tensor([[1, 2, 3]])).item() for _ in range(3)]
        except kernels.KernelBuildError as error:
            codes = str(error)
    return codes, [str(warning.message) for warning in caught]

print(json.dumps({choice: encode(choice) for choice in ("twin", "auto", "compiled")}))
"""


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory):
    """What three encodings give per choice in a process that finds no compiler."""
    cache = tmp_path_factory.mktemp("extensions")
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "CXX": "no-such-compiler",
            "TORCH_EXTENSIONS_DIR": str(cache),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(cache.iterdir()) == []
    return json.loads(answer.stdout)


def test_without_a_compiler_the_twins_run_with_one_warning(without_compiler):
    codes, messages = without_compiler["auto"]
    assert codes == [53, 53, 53]
    assert len(messages) == 1
    assert messages[0].startswith("eagleray_kernels runs in plain PyTorch on cpu")
    assert "no C++ compiler found" in messages[0]


def test_without_a_compiler_compiled_operators_are_an_error(without_compiler):
    codes, _ = without_compiler["compiled"]
    assert codes.startswith("no C++ compiler found")


def test_twins_by_choice_do_not_warn(without_compiler):
    assert without_compiler["twin"] == [[53, 53, 53], []]


def test_the_inner_choice_holds_and_ends():
    with kernels.implementation("twin"):
        assert not kernels.uses_compiled("cpu")
        with kernels.implementation("twin"):
            assert not kernels.uses_compiled("cpu")
        assert not kernels.uses_compiled("cpu")


def test_devices_without_compiled_operators_use_the_twins():
    assert not kernels.uses_compiled("meta")


def test_unknown_choices_are_refused(monkeypatch):
    with (
        pytest.raises(kernels.KernelInputError, match="allowed are auto, compiled, twin"),
        kernels.implementation("fast"),
    ):
        pass
    monkeypatch.setenv("EAGLERAY_KERNELS", "fast")
    with pytest.raises(kernels.KernelInputError, match="'fast'"):
        kernels.encode_morton(torch.zeros(1, 3))
