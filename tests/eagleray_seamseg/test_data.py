"""Samples and batches of the small data set."""

import numpy as np
import pytest
import torch
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import instance_ids, run_stage, small_cityscapes

from eagleray.task import InputError
from eagleray_seamseg.data import training_placement
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.samples.sample import pad_images

DRAW = {"shortest_px": 100, "longest_max_px": 1000, "flip_probability": 0.5}


@pytest.fixture
def task(tmp_path):
    return SeamlessTask(cityscapes_settings(small_cityscapes(tmp_path)))


@pytest.fixture
def rows(task):
    return {stage.label: run_stage(stage)[0] for stage in task.stages()}


def test_training_sample_has_placed_labels_alone(task, rows):
    data = task.dataset("train", rows)
    sample = data.load(0, np.random.default_rng(0))
    assert sample.image.shape == (3, 48, 72)
    assert sample.placed.id_map.shape == (48, 72)
    assert sample.photo is None
    assert sample.truth is None


def test_evaluation_sample_has_everything_at_its_own_size(task, rows):
    sample = task.dataset("val", rows).load(0, np.random.default_rng(0))
    assert sample.photo.shape == (64, 96, 3)
    assert sample.output_hw == (64, 96)
    assert sample.network_hw == (48, 72)
    assert (sample.truth.id_map > 0).sum() == (instance_ids() > 0).sum()


def test_groups_follow_the_orientation(task, rows):
    data = task.dataset("train", rows)
    assert [data.key(k).split("_")[0] for k in range(len(data))] == ["aachen", "bonn"]
    assert [data.group(k) for k in range(len(data))] == [0, 1]


def test_sample_depends_on_its_generator_alone(task, rows):
    data = task.dataset("train", rows)
    first, again = (data.load(0, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.image, again.image)
    flips = {
        bool(torch.equal(data.load(0, np.random.default_rng(k)).image, first.image))
        for k in range(9)
    }
    assert flips == {True, False}


def test_batch_is_padded_and_keeps_its_targets(task, rows):
    data = task.dataset("train", rows)
    samples = [data.load(k, np.random.default_rng(0)) for k in range(2)]
    batch = data.collate(samples)
    assert batch.images.shape == (2, 3, 72, 72)
    assert batch.valid_sizes == ((48, 72), (72, 48))
    assert batch.images[0, :, 48:].abs().sum() == 0
    for target, sample in zip(batch.targets, samples, strict=True):
        assert target.ids.dtype == target.classes.dtype == torch.int64
        assert target.is_crowd.dtype == torch.bool
        assert np.array_equal(target.ids.numpy(), sample.placed.id_map)


def test_padding_keeps_single_images_whole():
    image = torch.rand(3, 5, 7)
    padded, sizes = pad_images([image])
    assert torch.equal(padded[0], image)
    assert sizes == ((5, 7),)


def test_data_must_be_prepared(task):
    with pytest.raises(InputError, match="prepare"):
        task.dataset("train", {})


def test_backbone_brings_its_own_colors(tmp_path):
    root = small_cityscapes(tmp_path)
    settings = cityscapes_settings(root)
    body = settings.network.body.model_copy(
        update={"rgb_mean": (0.5, 0.5, 0.5), "rgb_std": (0.5, 0.5, 0.5)}
    )
    network = settings.network.model_copy(update={"body": body})
    task = SeamlessTask(settings.model_copy(update={"network": network}))
    rows = {stage.label: run_stage(stage)[0] for stage in task.stages()}
    image = task.dataset("val", rows).load(0, np.random.default_rng(0)).image
    assert image.min() >= -1
    assert image.max() <= 1


def test_scales_cover_the_range_and_repeat_with_their_seed():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return training_placement((100, 200), rng, random_scale=(0.5, 2.0), **DRAW)

    heights = [draw(seed).size_hw[0] for seed in range(300)]
    assert 50 <= min(heights) < 60
    assert 190 < max(heights) < 200
    assert draw(7) == draw(7)
    assert 100 < sum(draw(seed).flip for seed in range(300)) < 200


def test_scales_are_chosen_from_a_list():
    rng = np.random.default_rng(0)
    found = {
        training_placement((100, 200), rng, random_scale=(0.5, 1.0, 1.5), **DRAW).size_hw
        for _ in range(50)
    }
    assert found == {(50, 100), (100, 200), (150, 300)}


def test_no_random_scale():
    rng = np.random.default_rng(0)
    assert training_placement((50, 80), rng, random_scale=None, **DRAW).size_hw == (100, 160)


def test_padding_reaches_a_multiple():
    images, sizes = pad_images([torch.ones(3, 5, 32), torch.ones(3, 33, 7)], multiple=32)
    assert images.shape == (2, 3, 64, 32)
    assert sizes == ((5, 32), (33, 7))
    assert images.sum() == 3 * (5 * 32 + 33 * 7)
