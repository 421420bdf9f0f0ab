"""What losses compare a prediction with: segments of one image as tensors, and its instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eagleray_vision.detection.boxes import boxes_from_id_map
from eagleray_vision.losses.bootstrapped_ce import VOID_ID
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic


@dataclass(frozen=True, slots=True)
class PanopticTarget:
    """Ground truth of one image at the unpadded size of the network input.

    Args:
        ids: Segment id per pixel, ``(h, w)`` int64; 0 = void.
        classes: Class of each segment id, ``(k,)`` int64; entry 0 is 255.
        is_crowd: Whether a segment is a group of instances, ``(k,)`` bool.
    """

    ids: Tensor
    classes: Tensor
    is_crowd: Tensor


@dataclass(frozen=True, slots=True)
class ThingTruth:
    """Instances of one image.

    Args:
        boxes_yxyx: ``(g, 4)`` in pixels.
        things: Thing index from 0, ``(g,)`` int64.
        ids: Segment ids, ``(g,)`` int64.
        crowd: ``(h, w)`` bool, pixels of crowd things; ``None`` if no segment is a crowd.
    """

    boxes_yxyx: Tensor
    things: Tensor
    ids: Tensor
    crowd: Tensor | None


def thing_truth(target: PanopticTarget, num_stuff: int, dtype: torch.dtype) -> ThingTruth:
    """Return the instances of a target: things that are no crowd and have pixels."""
    boxes = boxes_from_id_map(target.ids, target.classes.shape[0], dtype=dtype)
    is_thing = (target.classes >= num_stuff) & (target.classes != VOID_ID)
    crowd_ids = is_thing & target.is_crowd
    chosen = (is_thing & ~target.is_crowd & (boxes[:, 2] > 0)).nonzero()[:, 0]
    return ThingTruth(
        boxes_yxyx=boxes[chosen],
        things=target.classes[chosen] - num_stuff,
        ids=chosen,
        crowd=crowd_ids[target.ids] if bool(crowd_ids.any()) else None,
    )


def panoptic_target(placed: IndexedPanoptic) -> PanopticTarget:
    """Turn labels at the network input's size into the losses' target."""
    return PanopticTarget(
        ids=torch.from_numpy(placed.id_map.astype(np.int64)),
        classes=torch.from_numpy(placed.categories),
        is_crowd=torch.from_numpy(placed.is_crowd),
    )
