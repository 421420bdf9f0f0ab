"""The fusion against its definition written out with full-size maps, and its properties."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray_efficientps.fusion import FusionRule, fuse_logits
from eagleray_vision.detection.mask_paste import paste_mask_in_box

SIZE, NUM_STUFF, NUM_THING = (40, 56), 4, 3
RULE = FusionRule(min_stuff_area_px=30)


def scene(seed: int, count: int = 6, shift: float = 0.0) -> tuple[Tensor, ...]:
    """Return semantic logits, boxes, things, scores and mask logits of a made-up image."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(NUM_STUFF + NUM_THING, 10, 14, generator=random)
    logits[:NUM_STUFF] += shift
    low = torch.rand(count, 2, generator=random) * torch.tensor([40.0, 26.0])
    high = low + 2 + torch.rand(count, 2, generator=random) * 18
    boxes = torch.cat([low, torch.minimum(high, torch.tensor([55.0, 39.0]))], dim=1)
    things = torch.randint(0, NUM_THING, (count,), generator=random)
    scores = torch.rand(count, generator=random) / 2 + 0.5
    masks = 2 * torch.randn(count, 28, 28, generator=random)
    return logits, boxes, things, scores, masks


def written_out(
    logits: Tensor, boxes: Tensor, things: Tensor, scores: Tensor, masks: Tensor, rule: FusionRule
) -> np.ndarray:
    """Fuse with one full-size map per instance; returns class * 100 + number, 0 = void."""
    full = F.interpolate(logits[None], SIZE, mode="bilinear")[0]
    occupied = torch.zeros(SIZE, dtype=torch.bool)
    channels, categories = [], []
    for index in scores.argsort(descending=True).tolist():
        patch, (y0, x0, y1, x1) = paste_mask_in_box(masks[index], boxes[index][[1, 0, 3, 2]], SIZE)
        pasted = torch.zeros(SIZE)
        pasted[y0:y1, x0:x1] = patch
        mask = pasted.sigmoid() > rule.mask_threshold
        if mask.any() and (mask & occupied).sum() / mask.sum() > rule.overlap:
            continue
        occupied |= mask
        own = torch.zeros(SIZE)
        x0, y0, x1, y1 = boxes[index].tolist()
        rows = slice(int(y0 + 1), min(round(y1 - 1) + 1, SIZE[0]))
        columns = slice(int(x0 + 1), min(round(x1 - 1) + 1, SIZE[1]))
        own[rows, columns] = full[NUM_STUFF + int(things[index]), rows, columns]
        mla = rule.mask_logit_gain * pasted
        channels.append((mla.sigmoid() + own.sigmoid()) * (mla + own))
        categories.append(NUM_STUFF + int(things[index]))
    winner = torch.cat([full[:NUM_STUFF], torch.stack(channels)]).argmax(0).numpy()
    semantic = full.argmax(0).numpy()
    result = np.zeros(SIZE, dtype=int)
    for number, category in enumerate(categories):
        result[winner == NUM_STUFF + number] = 100 * category + number + 1
    for category in range(NUM_STUFF):
        pixels = (winner < NUM_STUFF) & (semantic == category)
        if pixels.sum() >= rule.min_stuff_area_px:
            result[pixels] = 100 * category + 99
    return result


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("shift", [0.0, -20.0, 20.0])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_definition_written_out(seed, shift):
    """With a shift of -20 no stuff logit is positive, so that instances win by the zeros outside
    of their boxes.
    """
    inputs = scene(seed, shift=shift)
    found = fuse_logits(*inputs, size_hw=SIZE, num_stuff=NUM_STUFF, rule=RULE)
    expected = written_out(*inputs, RULE)
    assert same_partition(found.id_map, expected)
    assert (found.categories[found.id_map] == np.where(expected, expected // 100, 255)).all()


@pytest.mark.parametrize("seed", range(4))
def test_ids_are_compact_and_the_order_of_detections_does_not_matter(seed):
    logits, boxes, things, scores, masks = scene(seed)
    found = fuse_logits(
        logits, boxes, things, scores, masks, size_hw=SIZE, num_stuff=NUM_STUFF, rule=RULE
    )
    assert set(np.unique(found.id_map)) | {0} == set(range(len(found.categories)))
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    again = fuse_logits(
        logits,
        boxes[order],
        things[order],
        scores[order],
        masks[order],
        size_hw=SIZE,
        num_stuff=NUM_STUFF,
        rule=RULE,
    )
    assert np.array_equal(found.id_map, again.id_map)


def covering() -> tuple[Tensor, ...]:
    """Return one instance that wins every pixel."""
    logits = torch.full((NUM_STUFF + NUM_THING, 10, 14), -5.0)
    return (
        logits,
        torch.tensor([[8.0, 8, 20, 20]]),
        torch.tensor([1]),
        torch.ones(1),
        torch.full((1, 28, 28), 9.0),
    )


def test_an_instance_that_covers_all_is_void_only_where_that_is_asked_for():
    inputs = covering()
    found = fuse_logits(*inputs, size_hw=SIZE, num_stuff=NUM_STUFF, rule=RULE)
    assert found.categories.tolist() == [255, NUM_STUFF + 1] and (found.id_map == 1).all()
    faithful = replace(RULE, faithful=True)
    found = fuse_logits(*inputs, size_hw=SIZE, num_stuff=NUM_STUFF, rule=faithful)
    assert found.categories.tolist() == [255] and (found.id_map == 0).all()


def test_pixels_of_unclaimed_things_are_void_or_filled():
    logits = torch.zeros(NUM_STUFF + NUM_THING, 10, 14)
    logits[1], logits[NUM_STUFF] = 1.0, 2.0
    nothing = (torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0, 28, 28))
    void = fuse_logits(logits, *nothing, size_hw=SIZE, num_stuff=NUM_STUFF, rule=RULE)
    assert (void.id_map == 0).all()
    filled = fuse_logits(
        logits,
        *nothing,
        size_hw=SIZE,
        num_stuff=NUM_STUFF,
        rule=replace(RULE, fill_void=True),
    )
    assert (filled.categories[filled.id_map] == 1).all()


def test_the_paper_s_gain_gives_other_borders():
    inputs = scene(1)
    maps = [
        fuse_logits(
            *inputs,
            size_hw=SIZE,
            num_stuff=NUM_STUFF,
            rule=replace(RULE, mask_logit_gain=gain),
        ).id_map
        for gain in (1.0, 4.0)
    ]
    assert not np.array_equal(*maps)
