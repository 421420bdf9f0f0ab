"""Weights before training: of one seed, in any storage, whoever asks first."""

from __future__ import annotations

import threading

import pytest
import torch
from safetensors.torch import load_file
from tests.sixth_task import SquareSettings, SquareTask

from eagleray.evaluate.weights import find_weights
from eagleray.runs.run_folder import RunFolder

INITIAL = "checkpoints/initial/model.safetensors"


class Meeting(SquareTask):
    """A task whose model is built by two at the same time."""

    both = threading.Barrier(2, timeout=60)

    def build(self):
        model = super().build()
        self.both.wait()
        return model


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


def test_two_who_ask_at_once_get_whole_weights(tmp_path):
    run, task = RunFolder(str(tmp_path)), Meeting(SquareSettings())
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
    assert load_file(paths[0]).keys() == SquareTask(SquareSettings()).build().state_dict().keys()
    assert run.files("checkpoints", recursive=True) == [INITIAL], "no other file is left"
