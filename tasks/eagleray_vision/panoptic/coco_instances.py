"""Instance annotations in the COCO detection format: polygons, run lengths, boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.panoptic.contours import SIMPLIFICATION_PX, mask_polygons


def column_runs(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Return the lengths of alternating runs of 0 and 1 down the columns (uncompressed COCO RLE).

    Args:
        mask: ``(H, W)`` booleans.

    Returns:
        Run lengths in pixels; the first counts zeros and may be 0.

    Example:
        >>> column_runs(np.array([[True, False], [True, True]]))
        [0, 2, 1, 1]
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    borders = np.concatenate([[0], changes, [flat.size]])
    runs: list[int] = np.diff(borders).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def box_xywh(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Return the extent of a mask as [x, y, width, height] in pixels; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return [0, 0, 0, 0]
    top, left = int(rows[0]), int(columns[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def instance_annotation(
    mask: npt.NDArray[np.bool_],
    *,
    annotation_id: int,
    image_id: str | int,
    category_id: int,
    is_crowd: bool,
    tolerance_px: float = SIMPLIFICATION_PX,
) -> dict[str, Any] | None:
    """Describe one instance in the COCO detection format.

    Crowds are written as run lengths, others as polygons. Area and box are those of the mask.

    Args:
        mask: ``(H, W)`` booleans.
        annotation_id: Number of the annotation; count from 1, COCO evaluation takes 0 for "no
            match".
        image_id: The image it belongs to.
        category_id: Category of the instance.
        is_crowd: Whether it is a group.
        tolerance_px: Simplification of the polygons, in pixels.

    Returns:
        The annotation, or None for a mask without pixels or without any polygon.
    """
    if not mask.any():
        return None
    segmentation: Any
    if is_crowd:
        segmentation = {"counts": column_runs(mask), "size": list(mask.shape)}
    else:
        segmentation = mask_polygons(mask, tolerance_px)
        if not segmentation:
            return None
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": int(is_crowd),
        "area": int(mask.sum()),
        "bbox": [float(side) for side in box_xywh(mask)],
        "segmentation": segmentation,
        "width": mask.shape[1],
        "height": mask.shape[0],
    }
