"""Training and evaluating through the engine, with its settings that change how a step runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import run_stage, small_cityscapes

from eagleray.api import Experiment
from eagleray_seamseg.task import SeamlessTask

STEPS = 3


def experiment(tmp_path: Path, phase: dict[str, Any], **train: Any) -> Experiment:
    settings = cityscapes_settings(small_cityscapes(tmp_path / "data"))
    schedule = {"kind": "constant"}
    values = {
        "task": "seamseg",
        "storage": str(tmp_path / "storage"),
        "device": "cpu",
        "settings": settings.model_dump(mode="json"),
        "train": {
            "phases": [
                {"steps": STEPS, "batch_size": 1, "lr": 1e-2, "schedule": schedule, **phase}
            ],
            **train,
        },
        "evaluate": {"checkpoint": "last", "pictures": 0},
    }
    return Experiment.from_values(values, inline=True)


def checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return what is evaluated and, where an average is kept, what training goes on with."""
    (path,) = (folder / "storage" / "runs").rglob("model.safetensors")
    flat = load_file(path.parent / "optimizer.safetensors")
    raw = {n.removesuffix("/weight"): v for n, v in flat.items() if n.endswith("/weight")}
    return load_file(path), raw


def score(task: SeamlessTask, weights: dict[str, torch.Tensor]) -> dict[str, float]:
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    data = task.dataset("val", rows)
    model = task.build()
    model.load_state_dict(weights)
    model.eval()
    samples = [data.load(k, np.random.default_rng(0)) for k in range(len(data))]
    with torch.inference_mode():
        predictions = [task.predict(model, [one])[0] for one in samples]
    name = task.benchmarks()[0].name
    found = [task.score(name, s, p) for s, p in zip(samples, predictions, strict=True)]
    return dict(task.compute(name, found).values)


def test_evaluation_takes_the_moving_average(tmp_path: Path) -> None:
    run = experiment(tmp_path, {"ema_decay": 0.9, "lr": 0.1})
    (result,) = run.run()
    averaged, raw = checkpoint(tmp_path)
    trained = {n for n, p in run.task.build().named_parameters() if p.requires_grad}
    assert set(raw) >= trained
    assert not torch.equal(averaged["sem_head.conv_sem.weight"], raw["sem_head.conv_sem.weight"])
    values = {name: value for name, value in result.values.items() if value is not None}
    assert values == pytest.approx(score(run.task, averaged), rel=1e-6)
    assert values != pytest.approx(score(run.task, {**averaged, **raw}), rel=1e-6)


@pytest.mark.parametrize(
    ("phase", "train", "tolerance"),
    [
        ({}, {"channels_last": True}, 1e-4),
        ({"precision": "bf16"}, {}, 0.05),
        ({"precision": "bf16"}, {"channels_last": True, "activation_checkpointing": True}, 0.05),
    ],
    ids=["channels_last", "bf16", "all"],
)
def test_settings_of_the_engine_hardly_change_the_loss(
    tmp_path: Path, phase: dict[str, Any], train: dict[str, Any], tolerance: float
) -> None:
    plain = experiment(tmp_path / "plain", {"lr": 1e-4}).train()
    other = experiment(tmp_path / "other", {"lr": 1e-4, **phase}, **train).train()
    assert other.finished
    assert other.metrics["skipped_steps"] == 0
    for name, value in plain.metrics.items():
        if name.startswith("loss"):
            assert other.metrics[name] == pytest.approx(value, rel=tolerance, abs=0.01), name
