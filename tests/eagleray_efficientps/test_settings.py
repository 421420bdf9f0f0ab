"""Presets and recipes say what the released code and the paper say."""

import pytest
from pydantic import ValidationError

from eagleray_efficientps.recipes import FROZEN_PHASE, PAPER_LENGTHS, phases
from eagleray_efficientps.settings import PRESETS, EfficientPsSettings


def test_presets_lie_below_what_is_stated():
    settings = EfficientPsSettings(preset="kitti", input={"flip_probability": 0.0})
    assert settings.input.size_hw == settings.input.crop_hw == (384, 1280)
    assert not settings.input.keep_shape and settings.input.flip_probability == 0
    assert settings.data.format == "kitti" and settings.data.val_split == "validation"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset):
    assert EfficientPsSettings(preset=preset).preset == preset


def test_released_recipe():
    (phase,) = phases(EfficientPsSettings())
    assert (phase.epochs, phase.batch_size, phase.lr, phase.momentum) == (160, 16, 0.07, 0.9)
    assert (phase.weight_decay, phase.clip_norm) == (1e-4, 35)
    assert phase.schedule.milestone_fractions == (0.75, 0.9)
    assert phase.schedule.warmup_steps == 500


@pytest.mark.parametrize("preset", ["cityscapes", "kitti", "vistas", "idd"])
def test_paper_recipe_ends_with_frozen_statistics(preset):
    main, frozen = phases(EfficientPsSettings(preset=preset, recipe="paper"))
    length = PAPER_LENGTHS[preset]
    assert (main.steps, main.schedule.milestones) == (length.steps, length.milestones)
    assert main.schedule.warmup_steps == 200
    assert (frozen.name, frozen.epochs, frozen.lr) == (FROZEN_PHASE, 10, 1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "coco"},
        {"input": {"random_scale": (2.0, 0.5)}},
        {"network": {"backbone": {"name": "resnet9"}}},
        {"fusion": {"methode": "heuristic"}},
        {"test_time": {"scales": (1.0, 1.0)}},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        EfficientPsSettings(**wrong)
