"""Fusion against the same rule on full-size masks, and its awkward inputs."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eagleray_vision.panoptic.errors import LabelSizeError
from eagleray_vision.panoptic.fusion import FusionThresholds, fuse_panoptic

NUM_STUFF = 2
SIZE = (50, 70)


def pasted(mask, box, size_hw):
    """Paste through grid_sample over the whole image, the slow way."""
    y0, x0, y1, x1 = box.tolist()
    rows = (torch.arange(size_hw[0]) + 0.5 - y0) / (y1 - y0) * 2 - 1
    columns = (torch.arange(size_hw[1]) + 0.5 - x0) / (x1 - x0) * 2 - 1
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]


def slow_fusion(semantic, boxes, classes, scores, masks, thresholds):
    ids, lists = torch.zeros(SIZE, dtype=torch.long), [(255, 0.0, False)]
    for index in scores.argsort(descending=True, stable=True).tolist():
        if scores[index] <= thresholds.score:
            continue
        mask = pasted(masks[index].sigmoid(), boxes[index], SIZE) > 0.5
        taken = mask & (ids > 0)
        if taken.sum() / mask.sum() > thresholds.overlap:
            continue
        ids[mask & ~taken] = len(lists)
        lists.append((NUM_STUFF + int(classes[index]), float(scores[index]), False))
    for category in range(int(semantic.max()) + 1):
        free = (torch.from_numpy(semantic) == category) & (ids == 0)
        if free.sum() >= thresholds.min_stuff_area_px:
            ids[free] = len(lists)
            lists.append((category, 1.0, category >= NUM_STUFF))
    return ids.numpy(), lists


@pytest.mark.parametrize("seed", range(6))
def test_streaming_fusion_equals_full_size_masks(seed):
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    count = 14
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([40.0, 60.0]) - 5
    boxes = torch.cat([corner, corner + 3 + torch.rand(count, 2, generator=generator) * 30], dim=1)
    classes = torch.from_numpy(rng.integers(0, 3, count))
    scores = torch.rand(count, generator=generator)
    masks = torch.randn(count, 28, 28, generator=generator).cumsum(1) + 1
    semantic = rng.integers(0, 5, (5, 7)).repeat(10, 0).repeat(10, 1)
    thresholds = FusionThresholds(0.3, 0.5, 60)
    found = fuse_panoptic(
        semantic, boxes, classes, scores, masks, num_stuff=NUM_STUFF, thresholds=thresholds
    )
    ids, lists = slow_fusion(semantic, boxes, classes, scores, masks, thresholds)
    assert [int(c) for c in found.categories] == [entry[0] for entry in lists]
    assert found.is_crowd.tolist() == [entry[2] for entry in lists]
    np.testing.assert_allclose(found.scores, [entry[1] for entry in lists])
    # grid_sample rounds the probabilities differently: pixels exactly on 0.5 may differ
    assert (found.id_map != ids).mean() < 1e-3


def none():
    return (
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0),
        torch.zeros(0, 28, 28),
    )


def test_image_without_any_thing_is_filled_with_stuff():
    semantic = np.zeros((8, 8), int)
    semantic[:2] = 3
    fused = fuse_panoptic(
        semantic, *none(), num_stuff=2, thresholds=FusionThresholds(min_stuff_area_px=10)
    )
    assert fused.categories.tolist() == [255, 0, 3]
    assert fused.is_crowd.tolist() == [False, False, True]


def test_small_regions_become_void():
    fused = fuse_panoptic(
        np.zeros((8, 8), int),
        *none(),
        num_stuff=2,
        thresholds=FusionThresholds(min_stuff_area_px=65),
    )
    assert fused.categories.tolist() == [255]
    assert not fused.id_map.any()


def test_detection_with_an_empty_mask_stays_without_pixels():
    boxes = torch.tensor([[1.0, 1.0, 6.0, 6.0]])
    fused = fuse_panoptic(
        np.zeros((8, 8), int),
        boxes,
        torch.tensor([1]),
        torch.tensor([0.9]),
        torch.full((1, 28, 28), -9.0),
        num_stuff=2,
        thresholds=FusionThresholds(min_stuff_area_px=1),
    )
    assert fused.categories.tolist() == [255, 3, 0]
    assert fused.areas().tolist() == [0, 0, 64]
    assert fused.segments().category_ids.tolist() == [0]


@pytest.mark.parametrize(
    "box", [[3.0, 3.0, 3.0, 6.0], [-20.0, 0.0, -10.0, 5.0]], ids=["no height", "outside"]
)
def test_box_without_pixels_does_no_harm(box):
    fused = fuse_panoptic(
        np.zeros((8, 8), int),
        torch.tensor([box]),
        torch.tensor([0]),
        torch.tensor([0.9]),
        torch.full((1, 28, 28), 9.0),
        num_stuff=2,
        thresholds=FusionThresholds(min_stuff_area_px=1),
    )
    assert fused.areas().tolist() == [0, 0, 64]


def test_semantic_map_must_be_an_image():
    with pytest.raises(LabelSizeError, match=r"\(2, 8, 8\)"):
        fuse_panoptic(np.zeros((2, 8, 8), int), *none(), num_stuff=2, thresholds=FusionThresholds())
