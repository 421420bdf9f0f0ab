"""Frozen tensors of a weights file: named by its checksum in checkpoints, and not stored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.eagleray.tiny_task import TinyTask
from tests.eagleray.train.workers import (
    experiment,
    losses,
    train_here,
)

from eagleray.evaluate.model_stage import load_model
from eagleray.evaluate.weights import find_weights
from eagleray.runs.run_folder import RunFolder
from eagleray.task import SettingsError
from eagleray.train.checkpoint import FOLDER
from eagleray.train.exporting import export_weights, read_exported
from eagleray.train.model_file import ExportOrigin, ModelHeader

PRIOR = ("prior.bias", "prior.mean", "prior.weight")
CPU = torch.device("cpu")
AVERAGED = {"steps": 6, "batch_size": 4, "optimizer": "adamw", "lr": 0.01, "ema_decay": 0.7}
TWO_PHASES = [{**AVERAGED, "name": name} for name in ("a", "b")]


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    rng = torch.Generator().manual_seed(3)
    tensors = {
        "weight": torch.randn(6, 6, generator=rng).half(),
        "bias": torch.randn(6, generator=rng),
        "mean": torch.randn(6, generator=rng),
    }
    save_file(tensors, tmp_path / "prior.safetensors")
    return tmp_path / "prior.safetensors"


def weights(folder: Path, name: str = "main-00000010") -> Path:
    """Return where a checkpoint's weights are, whichever start of the training wrote them."""
    (path,) = (folder / FOLDER).glob(f"{name}*/model.safetensors")
    return path


def task_of(prior: Path) -> TinyTask:
    return TinyTask(experiment({"prior": str(prior)}).settings)


def test_a_checkpoint_names_the_file_and_stores_only_the_rest(prior: Path, tmp_path: Path) -> None:
    train_here(tmp_path / "run", {"prior": str(prior)})
    path = weights(tmp_path / "run")
    (reference,) = ModelHeader.read(path).frozen
    assert (reference.name, reference.file) == ("prior", "prior.safetensors")
    assert reference.sha256 == hashlib.sha256(prior.read_bytes()).hexdigest()
    assert sorted(reference.tensors) == list(PRIOR)
    stored = load_file(path)
    assert stored and not any(name.startswith("prior") for name in stored)
    whole = load_model(task_of(prior), path, CPU).state_dict()
    for name, value in load_file(prior).items():
        assert torch.equal(whole[f"prior.{name}"], value.float())
    assert torch.equal(whole["head.weight"], stored["head.weight"])


@pytest.mark.parametrize("phases", [(), TWO_PHASES], ids=["one", "averaged"])
def test_a_run_goes_on_as_if_all_were_stored(
    prior: Path, tmp_path: Path, phases: list[dict[str, Any]]
) -> None:
    task = {"prior": str(prior)}
    train_here(tmp_path / "whole", task, phases=phases)
    train_here(tmp_path / "run", task, limit=4, phases=phases)
    train_here(tmp_path / "run", task, phases=phases)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    name = "b-00000006" if phases else "main-00000010"
    a, b = (load_file(weights(tmp_path / run, name)) for run in ("run", "whole"))
    assert all(torch.equal(a[k], b[k]) for k in b) and not set(PRIOR) & set(b)
    raw = load_file(weights(tmp_path / "run", name).with_name("optimizer.safetensors"))
    assert not any(key.startswith("prior") for key in raw)


def test_the_shared_end_of_a_phase_leaves_them_out_too(prior: Path, tmp_path: Path) -> None:
    asked = {"phases": TWO_PHASES, "storage": str(tmp_path / "storage")}
    train_here(tmp_path / "one", {"prior": str(prior)}, **asked)
    result = train_here(tmp_path / "two", {"prior": str(prior)}, **asked)
    assert result.checkpoints == ("b-00000006",), "the second run begins with the shared phase"
    (shared,) = (tmp_path / "storage").rglob("model.safetensors")
    assert not set(PRIOR) & set(load_file(shared))
    assert losses(tmp_path / "two") == losses(tmp_path / "one")[6:]


def test_what_a_phase_has_trained_is_stored_from_then_on(prior: Path, tmp_path: Path) -> None:
    task = {"prior": str(prior), "train_prior_in": "a"}
    train_here(tmp_path / "run", task, phases=TWO_PHASES)
    for name in ("a-00000006", "b-00000006"):
        path = weights(tmp_path / "run", name)
        assert {"prior.weight", "prior.bias"} <= set(load_file(path))
        assert ModelHeader.read(path).frozen[0].tensors == ("prior.mean",)
    before, after = (load_file(weights(tmp_path / "run", f"{p}-00000006")) for p in "ab")
    assert torch.equal(before["prior.bias"], after["prior.bias"])
    assert not torch.equal(after["prior.bias"], load_file(prior)["bias"])


def test_a_missing_or_other_file_is_refused_with_both_checksums(
    prior: Path, tmp_path: Path
) -> None:
    train_here(tmp_path / "run", {"prior": str(prior)})
    path, run = weights(tmp_path / "run"), RunFolder(str(tmp_path / "run"))
    began_with = hashlib.sha256(prior.read_bytes()).hexdigest()
    other = tmp_path / "other.safetensors"
    save_file({k: v + 1 for k, v in load_file(prior).items()}, other)
    found = hashlib.sha256(other.read_bytes()).hexdigest()
    prior.rename(tmp_path / "moved.safetensors")
    for refused in (
        lambda: find_weights(run, "last", task_of(prior), 0),
        lambda: load_model(task_of(prior), path, CPU),
        lambda: train_here(tmp_path / "run", {"prior": str(prior), "steps": 12}),
    ):
        with pytest.raises(SettingsError, match=rf"{began_with}.*no file '{prior}'.*make it"):
            refused()
    for refused in (
        lambda: find_weights(run, "last", task_of(other), 0),
        lambda: train_here(tmp_path / "run", {"prior": str(other), "steps": 12}),
        lambda: train_here(tmp_path / "new", {"prior": str(other)}, init_from=str(path)),
    ):
        with pytest.raises(SettingsError, match=rf"{began_with}.*{other}.*{found}"):
            refused()
    with pytest.raises(SettingsError, match="names no such file"):
        find_weights(run, "last", TinyTask(experiment().settings), 0)
    assert find_weights(run, "last", task_of(tmp_path / "moved.safetensors"), 0) == path


def test_a_file_that_does_not_fit_is_refused_by_tensor(prior: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(5, 6), "bias": torch.zeros(6)}, prior)
    with pytest.raises(SettingsError, match=r"prior.weight \(5, 6\) for \(6, 6\)"):
        train_here(tmp_path / "run", {"prior": str(prior)})
    save_file({"scale": torch.zeros(6)}, prior)
    with pytest.raises(SettingsError, match=r"prior.scale \(6,\) for none"):
        train_here(tmp_path / "run", {"prior": str(prior)})


def test_an_older_checkpoint_holds_all_and_needs_no_file(
    prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"prior": str(prior)}
    train_here(tmp_path / "whole", task)
    with monkeypatch.context() as before:
        before.setattr("eagleray.train.frozen.FrozenTensors.is_unchanged", lambda *_: False)
        train_here(tmp_path / "run", task, limit=5)
    old = weights(tmp_path / "run", "main-00000005")
    assert set(PRIOR) <= set(load_file(old)) and ModelHeader.read(old) == ModelHeader()
    prior.rename(tmp_path / "moved.safetensors")
    assert load_model(task_of(prior), old, CPU)
    train_here(tmp_path / "run", task)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert set(PRIOR) <= set(load_file(weights(tmp_path / "run")))


def test_an_export_holds_everything_and_says_what_it_is(prior: Path, tmp_path: Path) -> None:
    train_here(tmp_path / "run", {"prior": str(prior)})
    task, path = task_of(prior), weights(tmp_path / "run")
    expected = load_model(task, path, CPU).state_dict()
    origin = ExportOrigin("tiny", task.settings.model_dump(mode="json"), "main-1", "last")
    output = tmp_path / "out" / "one.safetensors"
    assert export_weights(task, path, output, origin) == output.stat().st_size
    prior.unlink()
    found = load_model(task, output, CPU).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    exported = read_exported(output)
    assert exported is not None and exported.checkpoint is not None
    assert exported.experiment == {"task": "tiny", "settings": dict(origin.settings)}
    assert set(exported.checkpoint.state_dict) == set(expected)
    assert read_exported(path) is None
    with pytest.raises(SettingsError, match=r"ends in \.safetensors"):
        export_weights(task, output, tmp_path / "one.pt", origin)


def test_weights_before_training_leave_them_out(prior: Path, tmp_path: Path) -> None:
    run = RunFolder(str(tmp_path / "run"))
    path = find_weights(run, "initial", task_of(prior), 0)
    assert not set(PRIOR) & set(load_file(path))
    model = load_model(task_of(prior), path, CPU)
    assert torch.equal(model.state_dict()["prior.bias"], load_file(prior)["bias"])
