"""Weight files that are not this model's: refused with what differs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.eagleray.tiny_task import TinySettings, TinyTask

from eagleray.task import SettingsError
from eagleray.train.weights import load_exactly, read_weights


def test_other_names_and_shapes_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"weight": torch.ones(3, 3), "scale": torch.ones(1)}, file)
    with pytest.raises(SettingsError) as error:
        load_exactly(TinyTask(TinySettings()), torch.nn.Linear(2, 3), file)
    told = "1 missing: bias; 1 unknown: scale; 1 of another shape: weight (3, 3) for (3, 2)"
    assert told in str(error.value) and str(file) in str(error.value)


def test_weights_with_nan_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1), "b": torch.tensor([float("nan")])}, tmp_path / "a.safetensors")
    with pytest.raises(SettingsError, match=r"1 of 2 tensors hold NaN \(b\)"):
        read_weights(tmp_path / "a.safetensors")


def test_a_pipe_and_damaged_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    os.mkfifo(file)
    with pytest.raises(SettingsError, match="no regular file"):
        read_weights(file)
    file.unlink()
    for content in (b"", b"\xff" * 100, b'\x08\0\0\0\0\0\0\0{"a":{}}'):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match="is not a safetensors file"):
            read_weights(file)
