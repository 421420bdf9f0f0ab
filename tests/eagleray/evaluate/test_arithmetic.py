"""Evaluation and prediction in other arithmetic than float32."""

from typing import ClassVar

import pytest
import torch
from tests.sixth_task import SquareTask

from eagleray import api
from eagleray.api import Experiment
from eagleray.evaluate.arithmetic import Arithmetic
from eagleray.experiment import load
from eagleray.runs.run_folder import results_digest


class Watched(SquareTask):
    """The squares; notes the type that the model computes in, and how its weights lie."""

    seen: ClassVar[set] = set()

    def predict(self, model, samples):
        convolution = model[0].weight
        logits = model(torch.stack([s for s, _ in samples]))
        lies = convolution.is_contiguous(memory_format=torch.channels_last)
        self.seen.add((logits.dtype, convolution.dtype, lies))
        return super().predict(model, samples)


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    for module in (load, api):
        monkeypatch.setattr(module, "task_type", lambda name: Watched)
    monkeypatch.setattr(Watched, "seen", set())

    def make(**evaluate):
        values = {"task": "squares", "storage": str(tmp_path / "s"), "evaluate": evaluate}
        return Experiment.from_values({**values, "device": "cpu"}, inline=True, limit=4)

    return make


def test_evaluate_computes_as_asked_and_keeps_the_results_apart(experiment):
    plain, low = experiment(), experiment(precision="bf16", channels_last=True)
    plain.train()
    (before,) = plain.evaluate(checkpoint="last")
    assert {dtype for dtype, _, _ in Watched.seen} == {torch.float32}
    assert low.run_folder.name == plain.run_folder.name
    assert results_digest(low.settings) == results_digest(plain.settings)
    Watched.seen.clear()
    (after,) = low.evaluate(checkpoint="last")
    assert Watched.seen == {(torch.bfloat16, torch.float32, True)}
    assert after.rows != before.rows  # other numbers have another name
    (again,) = plain.evaluate(checkpoint="last")
    assert again.rows == before.rows


def test_predict_computes_as_asked(experiment, tmp_path, monkeypatch):
    one = experiment(precision="bf16")
    one.train()
    (tmp_path / "square.txt").write_text("0")
    Watched.seen.clear()
    monkeypatch.setattr(Watched, "load_input", lambda self, item: (torch.zeros(1, 6, 6), 0))
    one.predict([tmp_path / "square.txt"], str(tmp_path / "out"), checkpoint="last")
    assert {dtype for dtype, _, _ in Watched.seen} == {torch.bfloat16}


def test_compile_reaches_the_model():
    model = torch.nn.Linear(2, 2)
    Arithmetic(compile=True).apply(model)
    assert model._compiled_call_impl is not None
