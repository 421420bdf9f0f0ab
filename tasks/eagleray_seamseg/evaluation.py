"""Scoring of one image: panoptic quality, semantic IoU and instances for COCO AP (spec 6).

`faithful` scores at the resolution of the network input by the original's rules; otherwise at the
resolution of the labels by the official ones (spec 12).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_vision.detection.mask_paste import paste_mask_in_box
from eagleray_vision.images.resizing import resize_nearest
from eagleray_vision.metrics.average_precision import (
    Instances,
    instances_from_masks,
    mask_runs,
    polygon_runs,
)
from eagleray_vision.metrics.mean_iou import confusion_matrix
from eagleray_vision.metrics.panoptic_quality import PanopticStatistics, panoptic_statistics
from eagleray_vision.metrics.seamless_quality import seamless_statistics
from eagleray_vision.panoptic.contours import mask_polygons
from eagleray_vision.panoptic.fusion import MASK_THRESHOLD
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, without_crowds


def panoptic_unit(
    truth: IndexedPanoptic, predicted: IndexedPanoptic, num_classes: int, *, faithful: bool
) -> PanopticStatistics:
    """Compare a fused map with its truth, both of one size.

    Args:
        truth: Truth.
        predicted: Fused map; its crowd segments (things seen by the semantic head alone) are void.
        num_classes: C.
        faithful: Use the original's rule instead of the official one.

    Returns:
        Statistics of this image.

    Raises:
        LabelSizeError: The sizes differ.
    """
    if faithful:
        return seamless_statistics(truth, predicted, num_classes)
    visible = without_crowds(predicted)
    return panoptic_statistics(
        truth.id_map, truth.segments(), visible.id_map, visible.segments(), range(num_classes)
    )


def semantic_unit(
    truth: IndexedPanoptic, predicted_classes: npt.NDArray[np.integer[Any]], num_classes: int
) -> npt.NDArray[np.int64]:
    """Count pixels by true and predicted class; crowd segments count.

    Args:
        truth: Truth.
        predicted_classes: ``(H, W)`` classes of the same size, 255 = void.
        num_classes: C.

    Returns:
        ``(C, C + 1)`` int64, see `confusion_matrix`.
    """
    return confusion_matrix(truth.class_map(VOID_CLASS), predicted_classes, num_classes, VOID_CLASS)


def true_instances(truth: IndexedPanoptic, num_stuff: int, *, faithful: bool = False) -> Instances:
    """Return the things of the truth, crowds included, for COCO AP.

    Args:
        truth: Truth.
        num_stuff: Classes from here on are things.
        faithful: Take the simplified polygons of the original's COCO file instead of the masks;
            instances that leave no polygon are missing, holes are filled, area and box are the
            mask's.

    Returns:
        Instances; category ids are class ids.
    """
    chosen = _thing_segments(truth, num_stuff, keep_crowds=True)
    masks = [truth.id_map == index for index in chosen]
    crowds = truth.is_crowd[chosen].tolist()
    instances = instances_from_masks(masks, truth.categories[chosen].tolist(), is_crowd=crowds)
    if not faithful:
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


def scaled_boxes(boxes_yxyx: Tensor, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Tensor:
    """Scale boxes from one image size to another.

    Args:
        boxes_yxyx: ``(n, 4)`` in pixels of an image of size ``from_hw``.
        from_hw: Height and width.
        to_hw: Height and width.

    Returns:
        ``(n, 4)`` in pixels of an image of size ``to_hw``.
    """
    factors = torch.tensor(
        [to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]] * 2,
        dtype=boxes_yxyx.dtype,
        device=boxes_yxyx.device,
    )
    return boxes_yxyx * factors


def statistics_of(rows: Iterable[Mapping[str, Any]]) -> list[PanopticStatistics]:
    """Read the panoptic statistics out of the rows of a split."""
    return [PanopticStatistics.from_row(row) for row in rows]


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
