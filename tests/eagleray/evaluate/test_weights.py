"""Weights before training: of one seed, in any storage, whoever asks first."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.sixth_task import SquareSettings, SquareTask

from eagleray.evaluate.weights import find_weights, locate_weights
from eagleray.runs.run_folder import RunFolder
from eagleray.task import SettingsError

INITIAL = "checkpoints/initial/model.safetensors"


@pytest.fixture
def remote(tmp_path):
    return RunFolder(f"memory://{tmp_path.name}/runs/exp/main-1")


def test_weights_before_training_are_kept_on_an_object_store(remote, tmp_path):
    task = SquareTask(SquareSettings())
    there = load_file(find_weights(remote, "initial", task, seed=3))
    here = load_file(find_weights(RunFolder(str(tmp_path)), "initial", task, seed=3))
    assert remote.exists(INITIAL)
    assert there.keys() == here.keys() and there
    assert all(torch.equal(there[name], here[name]) for name in there)


def test_two_who_ask_at_once_get_whole_weights(tmp_path, monkeypatch):
    run, task = RunFolder(str(tmp_path)), SquareTask(SquareSettings())
    both = threading.Barrier(2, timeout=60)

    def together(owner, name):
        original = getattr(owner, name)

        def wait_for_the_other(*arguments):
            both.wait()
            return original(*arguments)

        monkeypatch.setattr(owner, name, wait_for_the_other)

    # Whichever of the two gives a file its name: both have written theirs by then.
    together(Path, "replace")
    together(os, "link")
    paths, errors = [], []

    def ask():
        try:
            paths.append(find_weights(run, "initial", task, seed=3))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(set(paths)) == 1
    assert load_file(paths[0]).keys() == task.build().state_dict().keys()
    assert run.files("checkpoints", recursive=True) == [INITIAL], "no other file is left"


def test_weights_travel_by_uri_and_checksum_and_not_by_the_drivers_path(
    remote, tmp_path, monkeypatch
):
    task = SquareTask(SquareSettings())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
    sent = pickle.loads(pickle.dumps(locate_weights(remote, "initial", task, seed=3)))
    here = load_file(sent.local())
    assert sent.uri == f"{remote.uri}/{INITIAL}" and sent.local().is_relative_to(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "worker"))  # as on another node
    shutil.rmtree(tmp_path / "driver")
    there = load_file(sent.local())
    assert all(torch.equal(there[name], here[name]) for name in here)


def test_weights_are_named_by_a_uri_too(remote, tmp_path, monkeypatch):
    task = SquareTask(SquareSettings())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    find_weights(remote, "initial", task, seed=3)
    for place in (f"{remote.uri}/{INITIAL}", f"{remote.uri}/checkpoints/initial"):
        assert locate_weights(remote, place, task, seed=0).uri == f"{remote.uri}/{INITIAL}"
    with pytest.raises(SettingsError, match="cannot be read"):
        locate_weights(remote, f"{remote.uri}/nothing", task, seed=0)
