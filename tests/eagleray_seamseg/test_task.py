"""The task on its contract: a few steps of training, prediction and scoring in this process."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import run_stage, small_cityscapes

from eagleray.experiment.load import load_experiment
from eagleray.task import StepContext
from eagleray_seamseg.losses import LOSS_NAMES
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments" / "seamseg"


@pytest.fixture
def task(tmp_path):
    return SeamlessTask(cityscapes_settings(small_cityscapes(tmp_path)))


@pytest.fixture
def rows(task):
    return {stage.label: run_stage(stage)[0] for stage in task.stages()}


def train(task, model, data, steps, lr=1e-3):
    phase = task.phases()[0]
    groups = task.parameter_groups(model, phase)
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam([parameters[n] for g in groups for n in g.names], lr=lr)
    totals = []
    model.train()
    for step in range(steps):
        index = step % len(data)
        batch = data.collate([data.load(index, np.random.default_rng(step))])
        context = StepContext(phase, step, steps, 0, (data.key(index),))
        terms = task.losses(model, batch, context)
        assert tuple(terms) == LOSS_NAMES
        total = sum(t.factor * t.sum / t.weight for t in terms.values() if float(t.weight) > 0)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total))
    return totals


def test_loss_falls_and_predictions_can_be_scored(task, rows):
    torch.manual_seed(0)
    model = task.build()
    data = task.dataset("train", rows)
    totals = train(task, model, data, 16, lr=5e-3)
    assert np.isfinite(totals).all()
    assert np.mean(totals[-4:]) < 0.8 * np.mean(totals[:4])

    val = task.dataset("val", rows)
    samples = [val.load(k, np.random.default_rng(0)) for k in range(len(val))]
    model.eval()
    with torch.inference_mode():
        predictions = task.predict(model, samples)
    for benchmark in task.benchmarks():
        found = [
            task.score(benchmark.name, sample, prediction)
            for sample, prediction in zip(samples, predictions, strict=True)
        ]
        assert benchmark.metric in task.compute(benchmark.name, found).values
    pictures = task.picture(samples[0], predictions[0])
    assert {name: picture.shape for name, picture in pictures.items()} == {
        "input": (64, 96, 3),
        "truth": (64, 96, 3),
        "prediction": (64, 96, 3),
    }


def test_predictions_do_not_depend_on_the_batch(task, rows):
    torch.manual_seed(0)
    model = task.build().eval()
    data = task.dataset("val", rows)
    sample = data.load(0, np.random.default_rng(0))
    with torch.inference_mode():
        (alone,) = task.predict(model, [sample])
        both = task.predict(model, [sample, sample])
    for one in both:
        assert np.array_equal(one.semantic_classes, alone.semantic_classes)
        assert np.array_equal(one.fused.categories, alone.fused.categories)


def test_losses_repeat_with_their_step(task, rows):
    torch.manual_seed(0)
    model = task.build().train()
    data = task.dataset("train", rows)
    batch = data.collate([data.load(0, np.random.default_rng(0))])
    context = StepContext(task.phases()[0], 3, 10, 0, (data.key(0),))
    first, again = (task.losses(model, batch, context) for _ in range(2))
    assert {k: float(t.sum) for k, t in first.items()} == {
        k: float(t.sum) for k, t in again.items()
    }


def test_groups_split_normalization_from_the_rest(task):
    model = task.build()
    norm, other = task.parameter_groups(model, task.phases()[0])
    assert norm.weight_decay_factor == 0
    assert other.weight_decay_factor == 1
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert set(norm.names) | set(other.names) == trained
    assert not set(norm.names) & set(other.names)
    assert set(norm.names) <= model.norm_parameter_names()


def test_frozen_normalization_is_not_trained(tmp_path):
    settings = cityscapes_settings(small_cityscapes(tmp_path))
    body = settings.network.body.model_copy(update={"bn_frozen": True})
    network = settings.network.model_copy(update={"body": body})
    task = SeamlessTask(settings.model_copy(update={"network": network}))
    model = task.build()
    (only,) = task.parameter_groups(model, task.phases()[0])
    assert not set(only.names) & model.norm_parameter_names()


def test_task_can_be_pickled(task):
    again = pickle.loads(pickle.dumps(task))
    assert again.settings == task.settings
    assert again.benchmarks() == task.benchmarks()


def test_requirements_name_what_is_missing(tmp_path):
    missing = SeamlessTask(SeamlessSettings(data={"root": str(tmp_path / "gone")})).requirements()
    assert [one.found for one in missing] == [False, False]
    assert "data.root" in missing[0].hint
    assert "num_frozen" in missing[1].hint
    task = SeamlessTask(cityscapes_settings(small_cityscapes(tmp_path)))
    assert [one.found for one in task.requirements()] == [True]


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda p: p.stem)
def test_experiment_files_are_valid(path, monkeypatch):
    monkeypatch.setenv("EAGLERAY_DATA", "data")
    experiment = load_experiment(path)
    task = SeamlessTask(experiment.settings)
    known = {one.name for one in task.benchmarks()}
    assert set(experiment.evaluate.benchmarks) <= known
    assert experiment.train.validate_on.benchmark in {None, *known}


@pytest.mark.slow
def test_real_frames_are_learned(monkeypatch):
    """PQ reaches 60 % of the fusion's ceiling and things 15 %, from next to nothing."""
    if "EAGLERAY_DATA" not in os.environ:
        pytest.skip("EAGLERAY_DATA names no folder with cityscapes_sample and small_models")
    experiment = load_experiment(EXPERIMENTS / "real_frames.yaml")
    task = SeamlessTask(experiment.settings)
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    torch.manual_seed(0)
    model = task.build()
    task.load_pretrained(model)

    def evaluate(name):
        data = task.dataset("val", rows)
        samples = [data.load(k, np.random.default_rng(0)) for k in range(len(data))]
        model.eval()
        with torch.inference_mode():
            predictions = [task.predict(model, [sample])[0] for sample in samples]
        scored = [task.score(name, s, p) for s, p in zip(samples, predictions, strict=True)]
        return task.compute(name, scored).values

    benchmark, ceiling = (one.name for one in task.benchmarks())
    before = evaluate(benchmark)
    train(task, model, task.dataset("train", rows), 160)
    after = evaluate(benchmark)
    assert before["pq"] < 10
    assert after["pq"] >= 0.6 * evaluate(ceiling)["pq"]
    assert after["pq_things"] >= 15
