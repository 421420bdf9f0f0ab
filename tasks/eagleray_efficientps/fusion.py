"""Panoptic fusion of EfficientPS (Mohan & Valada, IJCV 2021, section 3.4).

Every instance gets a map of fused logits from its own mask (MLA) and the semantic logits of its
class in its box (MLB): FL = (sigmoid(MLA) + sigmoid(MLB)) * (MLA + MLB). Stuff logits and FL maps
compete for every pixel; stuff then comes from the argmax over all classes.

The released code multiplies mask logits by 4, which the paper does not. Masks are pasted one by one
inside their boxes and a running maximum takes the place of the joined maps, which gives the same
numbers in a hundredth of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray_vision.detection.mask_paste import paste_mask_in_box
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

RELEASED_GAIN = 4.0
"""Factor of the mask logits in the released code."""

Window = tuple[int, int, int, int]
"""First row, first column, past-the-last row and column."""


@dataclass(frozen=True)
class FusionRule:
    """Parameters of the fusion.

    Attributes:
        overlap: A detection is dropped if more than this share of its mask is taken already.
        mask_threshold: Pixels with a higher mask probability belong to an instance, for the
            overlap.
        min_stuff_area_px: Stuff classes with fewer pixels are dropped.
        mask_logit_gain: Factor of the mask logits; the paper's formula has 1.
        fill_void: Give pixels whose best class is a thing, but which no instance claims, to the
            best stuff class instead of leaving them void.
        faithful: Where instances claim every pixel, make the first one void, as the released code.
    """

    overlap: float = 0.5
    mask_threshold: float = 0.5
    min_stuff_area_px: int = 2048
    mask_logit_gain: float = RELEASED_GAIN
    fill_void: bool = False
    faithful: bool = False


@dataclass(frozen=True)
class _Instance:
    """One instance that competes; outside of the window its fused logits are 0."""

    window: Window
    category: int
    score: float


@torch.no_grad()
def fuse_logits(
    semantic_logits: Tensor,
    boxes_xyxy: Tensor,
    things: Tensor,
    scores: Tensor,
    mask_logits: Tensor,
    *,
    size_hw: tuple[int, int],
    num_stuff: int,
    rule: FusionRule,
) -> IndexedPanoptic:
    """Fuse the detections and the semantic logits of one image.

    Args:
        semantic_logits: ``(classes, h, w)`` float32, stuff first; enlarged bilinearly.
        boxes_xyxy: ``(n, 4)`` inclusive corners in pixels of the result; n may be 0.
        things: ``(n,)`` int64, 0 = first thing class.
        scores: ``(n,)``.
        mask_logits: ``(n, m, m)`` float logits over the boxes.
        size_hw: Height and width of the result in pixels.
        num_stuff: Number of stuff classes S; thing k is class ``S + k``.
        rule: Parameters.

    Returns:
        Panoptic map; segments are the instances that win pixels by falling score, then the stuff
        classes in ascending order.
    """
    full = enlarged_logits(semantic_logits, size_hw)
    best, stuff = full[:num_stuff].max(0)
    is_thing = full[num_stuff:].amax(0) > best
    instances: list[_Instance] = []
    winner = torch.zeros(size_hw, dtype=torch.int16, device=full.device)
    for index, logits, window in instance_logits(
        full, boxes_xyxy, things, scores, mask_logits, num_stuff=num_stuff, rule=rule
    ):
        category = num_stuff + int(things[index])
        instances.append(_Instance(window, category, float(scores[index])))
        _compete(logits, window, len(instances), best, winner)
    _give_zeros(instances, best, winner)
    labels = stuff.to(torch.int16)
    if not rule.fill_void:
        labels[is_thing] = num_stuff
    return _assemble(winner, labels, instances, num_stuff, rule)


def instance_logits(
    full: Tensor,
    boxes_xyxy: Tensor,
    things: Tensor,
    scores: Tensor,
    mask_logits: Tensor,
    *,
    num_stuff: int,
    rule: FusionRule,
) -> Iterator[tuple[int, Tensor, Window]]:
    """Yield the fused logits of the detections whose masks are not taken already.

    Args:
        full: ``(classes, H, W)`` semantic logits at the size of the result.
        boxes_xyxy: As in `fuse_logits`.
        things: As in `fuse_logits`.
        scores: As in `fuse_logits`.
        mask_logits: As in `fuse_logits`.
        num_stuff: Number of stuff classes.
        rule: Parameters.

    Yields:
        By falling score: position of the detection, its logits, and where they lie; outside of
        this window they are 0.
    """
    occupied = torch.zeros(full.shape[1:], dtype=torch.bool, device=full.device)
    for index in torch.argsort(scores, descending=True, stable=True).tolist():
        class_logits = full[num_stuff + int(things[index])]
        fused = _fused_logits(class_logits, boxes_xyxy[index], mask_logits[index], occupied, rule)
        if fused is not None:
            yield (index, *fused)


def enlarged_logits(semantic_logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize ``(classes, h, w)`` logits bilinearly, without corner alignment."""
    if tuple(semantic_logits.shape[1:]) == tuple(size_hw):
        return semantic_logits
    return F.interpolate(semantic_logits[None], size_hw, mode="bilinear", align_corners=False)[0]


def _fused_logits(
    class_logits: Tensor, box: Tensor, mask_logits: Tensor, occupied: Tensor, rule: FusionRule
) -> tuple[Tensor, Window] | None:
    """Return FL and where it lies, or None for a detection whose mask is taken already.

    A mask without a pixel stays: its FL may win by the semantic logits alone.
    """
    size = (occupied.shape[0], occupied.shape[1])
    patch, (y0, x0, y1, x1) = paste_mask_in_box(mask_logits, box[[1, 0, 3, 2]], size)
    mask = patch.sigmoid() > rule.mask_threshold
    taken = occupied[y0:y1, x0:x1]
    area = int(mask.sum())
    if area and int((mask & taken).sum()) / area > rule.overlap:
        return None
    taken |= mask
    inside = _semantic_window(box, size)
    windows = [w for w in ((y0, x0, y1, x1), inside) if w[2] > w[0] and w[3] > w[1]]
    hull = _hull(windows)
    mla = class_logits.new_zeros(hull[2] - hull[0], hull[3] - hull[1])
    mlb = torch.zeros_like(mla)
    _part(mla, hull, (y0, x0, y1, x1)).copy_(rule.mask_logit_gain * patch)
    _part(mlb, hull, inside).copy_(_part(class_logits, (0, 0, *size), inside))
    return (mla.sigmoid() + mlb.sigmoid()) * (mla + mlb), hull


def _semantic_window(box_xyxy: Tensor, size_hw: tuple[int, int]) -> Window:
    """Return the whole pixels of a box as the released code rounds them."""
    x0, y0, x1, y1 = box_xyxy.tolist()
    top, left = (max(int(low + 1), 0) for low in (y0, x0))
    bottom = min(round(y1 - 1) + 1, size_hw[0])
    right = min(round(x1 - 1) + 1, size_hw[1])
    return (top, left, max(bottom, top), max(right, left))


def _hull(windows: list[Window]) -> Window:
    if not windows:
        return (0, 0, 0, 0)
    lows = (min(w[0] for w in windows), min(w[1] for w in windows))
    return (*lows, max(w[2] for w in windows), max(w[3] for w in windows))


def _part(values: Tensor, frame: Window, window: Window) -> Tensor:
    """Return the view of ``values``, which cover ``frame``, that lies in ``window``."""
    if window[2] <= window[0] or window[3] <= window[1]:
        return values[:0, :0]
    top, left = frame[0], frame[1]
    return values[window[0] - top : window[2] - top, window[1] - left : window[3] - left]


def _compete(logits: Tensor, window: Window, number: int, best: Tensor, winner: Tensor) -> None:
    """Let an instance claim the pixels at which its logits are the highest so far, in place."""
    y0, x0, y1, x1 = window
    region, owners = best[y0:y1, x0:x1], winner[y0:y1, x0:x1]
    owners[logits > region] = number
    torch.maximum(region, logits, out=region)


def _give_zeros(instances: list[_Instance], best: Tensor, winner: Tensor) -> None:
    """Let instances win, by the 0 that they have outside of their window, where all is below 0.

    The first one wins, also against a later one that reached exactly 0 inside of its window.
    """
    rows, columns = ((best < 0) | ((best == 0) & (winner > 0))).nonzero(as_tuple=True)
    for number, instance in enumerate(instances, start=1):
        if not len(rows):
            return
        y0, x0, y1, x1 = instance.window
        inside = (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)
        y, x = rows[~inside], columns[~inside]
        earlier = (best[y, x] < 0) | (winner[y, x] > number)
        winner[y[earlier], x[earlier]] = number
        rows, columns = rows[inside], columns[inside]


def _assemble(
    winner: Tensor, stuff: Tensor, instances: list[_Instance], num_stuff: int, rule: FusionRule
) -> IndexedPanoptic:
    """Number the instances that have pixels, and fill the rest with stuff.

    Args:
        winner: ``(H, W)`` int16: number of the instance, 0 = none.
        stuff: ``(H, W)`` int16: stuff class, ``num_stuff`` = none.
        instances: Instances by falling score.
        num_stuff: Stuff classes.
        rule: Parameters.
    """
    # one code per pixel: stuff class, none, then the instances
    code = torch.where(winner > 0, winner + num_stuff, stuff).numpy(force=True)
    counts = np.bincount(code.ravel(), minlength=num_stuff + 1 + len(instances))
    present = (np.flatnonzero(counts[num_stuff + 1 :]) + num_stuff + 1).tolist()
    kept = np.flatnonzero(counts[:num_stuff] >= max(rule.min_stuff_area_px, 1)).tolist()
    if rule.faithful and not counts[: num_stuff + 1].any():
        # the released code numbers the winners that occur from 0, which it takes for void
        present = present[1:]
    table = np.zeros(len(counts), dtype=np.int32)
    table[present + kept] = np.arange(1, len(present) + len(kept) + 1)
    chosen = [instances[number - num_stuff - 1] for number in present]
    categories = [VOID_CLASS, *(one.category for one in chosen), *kept]
    scores = [0.0, *(one.score for one in chosen), *(1.0 for _ in kept)]
    return IndexedPanoptic(
        np.take(table, code),
        np.array(categories, dtype=np.int64),
        np.zeros(len(categories), dtype=np.bool_),
        np.array(scores, dtype=np.float32),
    )
