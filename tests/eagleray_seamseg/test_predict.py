"""Batches on the device, and fusion behind it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import photo, small_cityscapes

from eagleray_seamseg.predict import fuse_inference, fusion_thresholds, predict_panoptic
from eagleray_seamseg.task import SeamlessTask
from eagleray_vision.inference.prediction import PanopticInference
from eagleray_vision.samples.placement import ImageNormalization, Placement, place_image
from eagleray_vision.samples.sample import PanopticSample, pad_images

COLORS = ImageNormalization((0.4, 0.4, 0.4), (0.25, 0.25, 0.25))
SIZES = [(48, 72), (72, 48), (48, 72), (40, 96), (48, 72)]


def make_task(folder, **changes):
    return SeamlessTask(cityscapes_settings(small_cityscapes(folder), **changes))


def make_network(task):
    """Return a network whose scores are far enough apart to be compared across batches."""
    torch.manual_seed(0)
    network = task.build().eval()
    with torch.no_grad():
        network.roi_head.roi_cls.weight.mul_(30)
        network.roi_head.roi_cls.bias.normal_(0, 1)
    return network


def samples():
    """Return noise of several sizes."""
    made = []
    for index, size in enumerate(SIZES):
        picture = photo((2 * size[0], 2 * size[1]), seed=index)
        made.append(
            PanopticSample(str(index), place_image(picture, Placement(size), COLORS), picture)
        )
    return made


def assert_alike(found, expected):
    """Compare predictions within float32's rounding; classes may change on ties only."""
    assert found.inference.classes.tolist() == expected.inference.classes.tolist()
    for name in ("boxes_yxyx", "scores", "mask_logits"):
        torch.testing.assert_close(
            getattr(found.inference, name),
            getattr(expected.inference, name),
            atol=2e-3,
            rtol=1e-3,
        )
    same = found.inference.semantic_classes == expected.inference.semantic_classes
    assert same.double().mean() > 0.995
    assert (found.fused.id_map == expected.fused.id_map).mean() > 0.99


@pytest.mark.parametrize("normalization", ["gn", "bn"])
def test_batches_of_mixed_sizes_predict_what_single_images_do(tmp_path, normalization):
    task = make_task(tmp_path)
    body = task.settings.network.body.model_copy(update={"normalization_mode": normalization})
    network_settings = task.settings.network.model_copy(update={"body": body})
    task = SeamlessTask(task.settings.model_copy(update={"network": network_settings}))
    network = make_network(task)
    alone = [predict_panoptic(network, [one], task.settings)[0] for one in samples()]
    assert sum(len(one.inference.scores) for one in alone) > 0
    together = predict_panoptic(network, samples(), task.settings)
    for one, expected in zip(together, alone, strict=True):
        assert_alike(one, expected)


def test_padded_batch_is_what_each_padded_image_gives(tmp_path):
    """Zero beyond the image, and nothing of it in the result."""
    task = make_task(tmp_path)
    padding = task.settings.input.model_copy(update={"pad_mixed_sizes": True})
    settings = task.settings.model_copy(update={"input": padding})
    network = make_network(task)
    together = predict_panoptic(network, samples(), settings)
    images, sizes = pad_images([one.image for one in samples()])
    for index, one in enumerate(together):
        expected = network.infer(images[index : index + 1], [sizes[index]])[0]
        assert one.inference.semantic_classes.shape == SIZES[index]
        same = one.inference.semantic_classes == expected.semantic_classes
        assert same.double().mean() > 0.995
        torch.testing.assert_close(one.inference.scores, expected.scores, atol=2e-3, rtol=1e-3)


def test_padding_reaches_into_results_so_that_it_is_off_by_default(tmp_path):
    task = make_task(tmp_path)
    assert not task.settings.input.pad_mixed_sizes
    network = make_network(task)
    small, large = samples()[0].image, torch.zeros(3, 90, 130)
    alone = network.infer(small[None], [(48, 72)])[0].semantic_logits
    padded, sizes = pad_images([small, large])
    beside = network.infer(padded, sizes)[0].semantic_logits
    assert (alone - beside[:, : alone.shape[1], : alone.shape[2]]).abs().max() > 1e-3


def one_instance(network_hw=(48, 72)):
    return PanopticInference(
        torch.tensor([[1.0, 2.0, 9.0, 9.0]]),
        torch.tensor([2]),
        torch.tensor([0.9]),
        torch.ones(1, 28, 28),
        torch.zeros(network_hw, dtype=torch.int64),
        torch.zeros(0),
    )


def test_map_is_fused_at_the_size_that_is_asked_for(tmp_path):
    settings = make_task(tmp_path).settings
    small = fuse_inference(one_instance(), (48, 72), (48, 72), settings, 11)
    large = fuse_inference(one_instance(), (48, 72), (96, 144), settings, 11)
    assert small.fused.categories.tolist() == large.fused.categories.tolist() == [255, 13, 0]
    ratio = large.fused.areas() / small.fused.areas().clip(1)
    assert ratio[1] == pytest.approx(4, rel=0.1)
    assert large.semantic_classes.shape == (96, 144)
    assert large.fused is large.fused


def test_least_area_is_one_of_the_network_input(tmp_path):
    settings = make_task(tmp_path).settings
    assert fusion_thresholds(settings, (48, 72), (48, 72)).min_stuff_area_px == 30
    assert fusion_thresholds(settings, (48, 72), (96, 144)).min_stuff_area_px == 120


DETECTIONS, WIDE_HW = 256, (600, 12_000)

_FUSE_WIDE = """
import resource, sys
import numpy as np, torch
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic
n, height, width = map(int, sys.argv[1:])
torch.set_num_threads(1)
rng = np.random.default_rng(0)
corner = rng.uniform(0, 1, (n, 2)) * (height / 2, width - 400)
boxes = np.concatenate([corner, corner + rng.uniform(40, 300, (n, 2))], axis=1)
boxes[-8:] = 0, 0, height, width
masks = torch.zeros(n, 28, 28).normal_(generator=torch.Generator().manual_seed(0))
semantic = np.zeros((height, width), np.int64)
def fuse(count, shown):
    return fuse_panoptic(
        shown, torch.from_numpy(boxes[:count]).float(), torch.arange(count) % 8,
        torch.linspace(0.99, 0.51, count), masks[:count], num_stuff=11,
        thresholds=FusionThresholds(min_stuff_area_px=1))
fuse(1, semantic[:8, :8])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = fuse(n, semantic)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(found.categories), (peak - before) * 1024)
"""


def test_many_masks_on_a_very_wide_photograph_are_fused_one_at_a_time():
    """The original's way: n * H * W booleans would be 1.8 GB here, n * H * W floats 7.4 GB."""
    arguments = [sys.executable, "-c", _FUSE_WIDE, DETECTIONS, *WIDE_HW]
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, check=True, timeout=300
    )
    segments, grown_bytes = map(int, done.stdout.split())
    assert segments > DETECTIONS / 2
    assert grown_bytes < 60 * WIDE_HW[0] * WIDE_HW[1]
    assert grown_bytes < DETECTIONS * WIDE_HW[0] * WIDE_HW[1] / 4


def test_prediction_holds_nothing_that_grows_with_detections_times_pixels(tmp_path):
    task = make_task(tmp_path)
    (found,) = predict_panoptic(make_network(task), samples()[:1], task.settings)
    assert found.inference.semantic_logits.numel() == 0
    assert found.inference.mask_logits.shape[1:] == (28, 28)
    assert isinstance(found.fused.id_map, np.ndarray)
    assert found.fused.id_map.nbytes == 4 * 96 * 144
