"""Areas, overlaps and extents of boxes.

All functions treat both axes alike, so boxes may be ``yxyx`` or ``xyxy`` where the names do not say
otherwise, as long as one call gets one kind. ``inclusive=True`` selects the older convention of
inclusive pixel corners, in which a side measures x1 - x0 + 1; the default is edges (x1 - x0).
"""

import torch
from torch import Tensor


def box_area(boxes: Tensor, *, inclusive: bool = False) -> Tensor:
    """Return the areas of ``(n, 4)`` boxes, ``(n,)``, without clamping reversed corners."""
    extent = boxes[:, 2:] - boxes[:, :2]
    if inclusive:
        extent = extent + 1
    return extent[:, 0] * extent[:, 1]


def _intersection(first: Tensor, second: Tensor, *, inclusive: bool) -> Tensor:
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    extent = high - low
    if inclusive:
        extent = extent + 1
    extent = extent.clamp(min=0)
    return extent[..., 0] * extent[..., 1]


def box_iou(first: Tensor, second: Tensor, *, inclusive: bool = False) -> Tensor:
    """Return intersection over union of every pair.

    Args:
        first: ``(n, 4)`` boxes.
        second: ``(m, 4)`` boxes of the same dtype.
        inclusive: Corners are inclusive pixels.

    Returns:
        ``(n, m)``; two empty boxes give NaN (0 / 0).

    Example:
        >>> a = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
        >>> box_iou(a, torch.tensor([[0.0, 1.0, 2.0, 3.0]])).item()
        0.3333333432674408
    """
    intersection = _intersection(first, second, inclusive=inclusive)
    area_first = box_area(first, inclusive=inclusive)
    area_second = box_area(second, inclusive=inclusive)
    return intersection / (area_first[:, None] + area_second[None, :] - intersection)


def box_coverage(first: Tensor, second: Tensor) -> Tensor:
    """Return the share of each first box's area that lies in each second box, ``(n, m)``."""
    return _intersection(first, second, inclusive=False) / box_area(first)[:, None]


def mask_coverage(boxes_yxyx: Tensor, mask: Tensor) -> Tensor:
    """Return the share of each box's area that a mask covers.

    Mask pixels are counted between corners truncated to whole pixels and clamped to the mask; the
    count is divided by the box's real-valued area.

    Args:
        boxes_yxyx: ``(n, 4)`` boxes in pixels of the mask, edges based.
        mask: ``(h, w)`` bool or 0/1 integers.

    Returns:
        ``(n,)`` of the boxes' dtype; an empty box gives NaN.
    """
    height, width = mask.shape
    counts = torch.zeros(height + 1, width + 1, dtype=torch.int64, device=mask.device)
    counts[1:, 1:] = mask.to(torch.int64).cumsum(0).cumsum(1)
    limits = torch.tensor([height, width, height, width], device=boxes_yxyx.device)
    corners = torch.minimum(boxes_yxyx.long().clamp(min=0), limits)
    y0, x0, y1, x1 = corners.unbind(1)
    inside = counts[y1, x1] - counts[y0, x1] - counts[y1, x0] + counts[y0, x0]
    return inside.to(boxes_yxyx.dtype) / box_area(boxes_yxyx)


def boxes_from_id_map(ids: Tensor, num_ids: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the extent of every id of a segment map.

    Args:
        ids: ``(h, w)`` integers in 0 .. ``num_ids`` - 1.
        num_ids: Number of rows wanted.
        dtype: Floating point type of the boxes.

    Returns:
        ``(num_ids, 4)`` yxyx boxes (first row, first column, last row + 1, last column + 1); ids
        without a pixel give -1 four times.

    Raises:
        ValueError: If an id is outside of the range.

    Example:
        >>> boxes_from_id_map(torch.tensor([[0, 1], [1, 1]]), 3).tolist()
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0], [-1.0, -1.0, -1.0, -1.0]]
    """
    height, width = ids.shape
    if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < num_ids):
        raise ValueError(
            f"the id map holds ids {int(ids.min())} .. {int(ids.max())}, but {num_ids} ids were "
            f"announced (0 .. {num_ids - 1})"
        )
    flat = ids.long()
    rows = torch.zeros(height, num_ids, dtype=torch.bool, device=ids.device)
    rows.scatter_(1, flat, True)
    columns = torch.zeros(num_ids, width, dtype=torch.bool, device=ids.device)
    columns.scatter_(0, flat, True)
    extents = [_first_and_last(rows.T), _first_and_last(columns)]
    boxes = torch.stack([extents[0][0], extents[1][0], extents[0][1], extents[1][1]], dim=1)
    absent = ~rows.any(0)
    return torch.where(absent[:, None], -1, boxes).to(dtype)


def _first_and_last(present: Tensor) -> tuple[Tensor, Tensor]:
    """Return per row of ``(n, size)`` flags the first set index and one past the last."""
    size = present.shape[1]
    if size == 0:
        nothing = torch.zeros(present.shape[0], dtype=torch.int64, device=present.device)
        return nothing, nothing
    flags = present.to(torch.int8)
    return flags.argmax(1), size - flags.flip(1).argmax(1)


def clip_boxes(
    boxes_yxyx: Tensor, image_size: tuple[int, int], *, inclusive: bool = False
) -> Tensor:
    """Clip ``(..., 4)`` boxes to an image.

    Args:
        boxes_yxyx: Boxes in pixels.
        image_size: Height and width in pixels; with ``inclusive`` the largest coordinates are one
            less.
        inclusive: Corners are inclusive pixels.
    """
    limit = boxes_yxyx.new_tensor(image_size) - int(inclusive)
    return torch.minimum(boxes_yxyx.clamp(min=0), torch.cat([limit, limit]))


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
