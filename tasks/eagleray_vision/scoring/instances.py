"""Instances of one image for COCO AP: of the truth, of a fused map, of the network's heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from eagleray_vision.detection.mask_paste import paste_mask_in_box
from eagleray_vision.images.resizing import resize_nearest
from eagleray_vision.metrics.average_precision import (
    Instances,
    instances_from_masks,
    mask_runs,
    polygon_runs,
)
from eagleray_vision.panoptic.contours import mask_polygons
from eagleray_vision.panoptic.fusion import MASK_THRESHOLD
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic


def true_instances(truth: IndexedPanoptic, num_stuff: int, *, polygons: bool = False) -> Instances:
    """Return the things of the truth, crowds included, for COCO AP.

    Args:
        truth: Truth.
        num_stuff: Classes from here on are things.
        polygons: Take the simplified polygons of the original's COCO file instead of the masks;
            instances that leave no polygon are missing, holes are filled, area and box are the
            mask's.

    Returns:
        Instances; category ids are class ids.
    """
    chosen = _thing_segments(truth, num_stuff, keep_crowds=True)
    masks = [truth.id_map == index for index in chosen]
    crowds = truth.is_crowd[chosen].tolist()
    instances = instances_from_masks(masks, truth.categories[chosen].tolist(), is_crowd=crowds)
    if not polygons:
        return instances
    runs = [
        mask_runs(mask) if crowd else polygon_runs(mask_polygons(mask), mask.shape)
        for mask, crowd in zip(masks, crowds, strict=True)
    ]
    kept = [index for index, run in enumerate(runs) if run is not None]
    return Instances(
        instances.category_ids[kept],
        instances.boxes_xywh[kept],
        tuple(run for run in runs if run is not None),
        instances.scores[kept],
        instances.is_crowd[kept],
        instances.areas[kept],
    )


def fused_instances(
    predicted: IndexedPanoptic, num_stuff: int, size_hw: tuple[int, int]
) -> Instances:
    """Return the non-crowd things of a fused map as detections (evaluation mode ``panoptic``).

    A box is the extent of the visible segment scaled to the wanted size, a mask its
    nearest-neighbor enlargement.

    Args:
        predicted: Fused map.
        num_stuff: Classes from here on are things.
        size_hw: Size to report at, in pixels.

    Returns:
        Detections by segment; category ids are class ids.
    """
    chosen = _thing_segments(predicted, num_stuff, keep_crowds=False)
    enlarged = resize_nearest(predicted.id_map, size_hw)
    boxes = np.array(
        [_extent_yxyx(predicted.id_map == index) for index in chosen], dtype=np.float32
    ).reshape(-1, 4)
    return instances_from_masks(
        [enlarged == index for index in chosen],
        predicted.categories[chosen].tolist(),
        scores=predicted.scores[chosen].tolist(),
        boxes_xywh=_scaled_xywh(boxes, predicted.id_map.shape, size_hw),
    )


def raw_instances(
    boxes_yxyx: Tensor,
    thing_classes: Tensor,
    scores: Tensor,
    mask_logits: Tensor,
    *,
    num_stuff: int,
    network_hw: tuple[int, int],
    size_hw: tuple[int, int],
) -> Instances:
    """Return the detections as they leave the network (evaluation mode ``separate``).

    Masks are pasted and thresholded at network size, then enlarged by nearest neighbor.

    Args:
        boxes_yxyx: ``(n, 4)`` boxes in pixels of the network input.
        thing_classes: ``(n,)`` int64, 0 = first thing.
        scores: ``(n,)`` float.
        mask_logits: ``(n, h, w)`` float.
        num_stuff: Number of stuff classes.
        network_hw: Size of the network input in pixels.
        size_hw: Size to report at, in pixels.

    Returns:
        Detections in the order given; category ids are class ids.
    """
    masks = [
        resize_nearest(pasted_mask(mask, box, network_hw), size_hw)
        for mask, box in zip(mask_logits, boxes_yxyx, strict=True)
    ]
    return instances_from_masks(
        masks,
        (thing_classes + num_stuff).tolist(),
        scores=scores.tolist(),
        boxes_xywh=_scaled_xywh(boxes_yxyx.numpy(force=True), network_hw, size_hw),
    )


def pasted_mask(
    mask_logits: Tensor, box_yxyx: Tensor, size_hw: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Paste one mask into an empty image and threshold it.

    Args:
        mask_logits: ``(h, w)`` float.
        box_yxyx: ``(4,)`` box in pixels of the image.
        size_hw: Size of the image in pixels.

    Returns:
        ``size_hw`` booleans.
    """
    patch, (y0, x0, y1, x1) = paste_mask_in_box(mask_logits.sigmoid(), box_yxyx, size_hw)
    mask = np.zeros(size_hw, dtype=np.bool_)
    mask[y0:y1, x0:x1] = (patch > MASK_THRESHOLD).numpy(force=True)
    return mask


def _thing_segments(
    panoptic: IndexedPanoptic, num_stuff: int, *, keep_crowds: bool
) -> npt.NDArray[np.int64]:
    is_thing = (panoptic.categories >= num_stuff) & (panoptic.categories != VOID_CLASS)
    visible = (panoptic.areas() > 0) & (keep_crowds | ~panoptic.is_crowd)
    chosen = np.flatnonzero(is_thing & visible)
    return chosen[chosen != 0]


def _extent_yxyx(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _scaled_xywh(
    boxes_yxyx: npt.NDArray[np.floating[Any]], from_hw: tuple[int, ...], to_hw: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Scale in float32, as the original does, so that its files can be compared."""
    rows = boxes_yxyx[:, 0::2].astype(np.float32) * np.float32(to_hw[0] / from_hw[0])
    columns = boxes_yxyx[:, 1::2].astype(np.float32) * np.float32(to_hw[1] / from_hw[1])
    xywh = np.stack(
        [columns[:, 0], rows[:, 0], columns[:, 1] - columns[:, 0], rows[:, 1] - rows[:, 0]], axis=1
    )
    return xywh.astype(np.float64)
