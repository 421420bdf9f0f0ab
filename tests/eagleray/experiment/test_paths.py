"""Dotted paths of settings: found by type, refused with the nearest name."""

from __future__ import annotations

import pytest

from eagleray.experiment.load import make_experiment
from eagleray.experiment.paths import full_path, with_value
from eagleray.task import SettingsError


@pytest.fixture(scope="module")
def seamseg():
    return make_experiment({"task": "seamseg"})


@pytest.fixture(scope="module")
def tiny():
    return make_experiment({"task": "tiny"})


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("train.phases.0.lr", "train.phases.0.lr"),
        ("train.phases.main.schedule.kind", "train.phases.0.schedule.kind"),
        ("train.phases.0.betas.1", "train.phases.0.betas.1"),
        ("train.num_workers", "train.num_workers"),
        ("settings.network.body.backbone", "settings.network.body.backbone"),
        ("network.body.backbone", "settings.network.body.backbone"),
        ("data.toyworld.train_frames", "settings.data.toyworld.train_frames"),
        ("train.validate_on.every", "train.validate_on.every"),
    ],
)
def test_path_is_found_by_the_types(seamseg, path, full):
    assert full_path(path, seamseg) == full


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train.phases.0.lrr", "'lrr' is unknown in train.phases.0; did you mean 'lr'"),
        ("train.phases.1.lr", "'1' is unknown in train.phases; allowed: 0, main"),
        ("train.phases.mian.lr", "did you mean 'main'"),
        ("train.phases.0.betas.2", "'2' is unknown in train.phases.0.betas"),
        ("network.bodi.backbone", "'bodi' is unknown in settings.network; did you mean 'body'"),
        ("networc.body", "'networc' is unknown at its beginning; did you mean 'network'"),
        ("trian.log_every", "did you mean 'train'"),
        ("seed.more", "'more' is unknown in seed"),
    ],
)
def test_unknown_path_is_refused_with_the_nearest_name(seamseg, path, message):
    with pytest.raises(SettingsError) as caught:
        full_path(path, seamseg)
    assert message in str(caught.value)


def test_a_section_of_the_experiment_comes_before_the_task_settings(tiny):
    assert full_path("steps", tiny) == "settings.steps"
    assert full_path("seed", tiny) == "seed"


def test_value_is_put_at_its_place_in_a_copy():
    values = {"train": {"phases": [{"lr": 1}, {"lr": 2}]}, "settings": None}
    changed = with_value(values, "train.phases.1.lr", 3)
    assert changed["train"]["phases"] == [{"lr": 1}, {"lr": 3}]
    assert values["train"]["phases"][1] == {"lr": 2}
    assert with_value(values, "settings.data.scene", "a")["settings"] == {"data": {"scene": "a"}}
