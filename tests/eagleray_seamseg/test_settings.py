"""Presets carry the paper's numbers, and what is stated is laid over them."""

import pytest
from pydantic import ValidationError

from eagleray_seamseg.model.config import cityscapes_r50, vistas_r50
from eagleray_seamseg.settings import InputSettings, SeamlessSettings, paper_phase


def test_vistas_is_the_default():
    found = SeamlessSettings()
    assert found.network == vistas_r50()
    assert found.input.shortest_px == 1920
    assert found.input.longest_max_px == 2304
    assert found.input.random_scale == (0.8, 1.25)
    assert found.input.rgb_mean == (0.41738699, 0.45732192, 0.46886091)
    assert (found.fusion.score_threshold, found.fusion.min_stuff_area_px) == (0.5, 4096)
    assert not found.norm_weight_decay


def test_cityscapes_preset():
    found = SeamlessSettings(preset="cityscapes_r50")
    assert found.network == cityscapes_r50()
    assert (found.data.format, found.data.val_split) == ("cityscapes", "val")
    assert (found.input.shortest_px, found.input.longest_max_px) == (1024, 4096)
    assert found.input.random_scale == (0.5, 2.0)


def test_package_preset_is_the_types_own_defaults():
    found = SeamlessSettings(preset="package")
    assert found.input == InputSettings()
    assert found.norm_weight_decay
    assert found.network.roi.num_samples == 128


def test_stated_values_are_laid_over_the_preset():
    found = SeamlessSettings.model_validate(
        {"network": {"rpn": {"num_samples": 64}, "body": {"weights": "r50.pt"}}, "faithful": False}
    )
    assert found.network.rpn.num_samples == 64
    assert found.network.rpn.anchor_ratios == vistas_r50().rpn.anchor_ratios
    assert found.network.body.weights == "r50.pt"
    assert found.network.body.num_frozen == 2
    again = SeamlessSettings.model_validate(found.model_dump())
    assert again == found


def test_model_given_whole_replaces_the_preset():
    found = SeamlessSettings(network=cityscapes_r50(weights="r50.pt"))
    assert found.network == cityscapes_r50(weights="r50.pt")


@pytest.mark.parametrize("scale", [(1.0,), (2.0, 0.5), (0.0, 1.0)], ids=str)
def test_impossible_scales_are_refused(scale):
    with pytest.raises(ValidationError):
        InputSettings(random_scale=scale)


def test_unknown_keys_and_presets_are_refused():
    with pytest.raises(ValidationError, match="shortest"):
        SeamlessSettings.model_validate({"input": {"shortest": 3}})
    with pytest.raises(ValidationError, match="preset"):
        SeamlessSettings.model_validate({"preset": "idd"})


@pytest.mark.parametrize(
    ("preset", "epochs", "milestones", "warmup"),
    [
        ("vistas_r50", 85, (144_000, 176_000), 200),
        ("cityscapes_r50", 130, (36_000, 44_000), 200),
        ("package", 90, (), 500),
    ],
)
def test_recipe_of_the_paper(preset, epochs, milestones, warmup):
    phase = paper_phase(preset)
    assert (phase.epochs, phase.batch_size, phase.lr) == (epochs, 8, 0.01)
    assert (phase.momentum, phase.nesterov, phase.weight_decay) == (0.9, True, 1e-4)
    assert phase.schedule.milestones == milestones
    assert (phase.schedule.warmup_steps, phase.schedule.warmup_start) == (warmup, 0.333)
    assert phase.normalize == "rank"
