"""Two DeepSpeed workers beside the frozen CLIP: the losses of one, whatever stage goes on."""

import pytest
import torch
from safetensors.torch import load_file
from tests.eagleray.train.workers import losses, train_by_two, train_folder
from tests.eagleray_ops.small_task import small_values

from eagleray.api import Experiment
from eagleray.train.model_file import ModelHeader
from eagleray_ops.model.network import CLIP_PREFIX, POSITIONS

STEPS, FIRST, SECOND = 6, 2, 4


def values(root, **train):
    return small_values(root, steps=STEPS, train={"log_every": 1, **train})


@pytest.mark.slow
def test_another_zero_stage_goes_on(tmp_path):
    lone = values(tmp_path / "data")
    train_folder(lone, tmp_path / "lone")
    stages = {
        stage: values(tmp_path / "data", strategy="deepspeed", zero_stage=stage, num_workers=2)
        for stage in (1, 2, 3)
    }
    run = tmp_path / "run"
    train_by_two([(stages[2], run, FIRST), (stages[3], run, SECOND), (stages[1], run, None)])
    expected = losses(tmp_path / "lone")
    assert len(expected) == STEPS
    torch.testing.assert_close(losses(run), expected, rtol=0, atol=2e-3)

    for path in (tmp_path / "lone", run):
        (last,) = path.glob(f"checkpoints/main-{STEPS:08d}*/model.safetensors")
        stored, (reference,) = load_file(last), ModelHeader.read(last).frozen
        assert reference.name == "clip"
        assert {name for name in stored if name.startswith(CLIP_PREFIX)} == {POSITIONS}
        own = Experiment.from_values(lone, inline=True).task.build().state_dict()
        assert set(stored) | set(reference.tensors) == set(own)
