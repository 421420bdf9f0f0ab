"""Code boxes relative to reference boxes: center offsets in reference sizes, log size ratios.

The code of a box is ``(dy, dx, dh, dw)`` for yxyx boxes and ``(dx, dy, dw, dh)`` for xyxy boxes:
the functions treat both axes alike. Source: Girshick et al., R-CNN, appendix C.
"""

import math

import torch
from torch import Tensor

MAX_LOG_RATIO = math.log(1000 / 16)
"""Largest decoded log size ratio: keeps exp() from overflowing (a 16 px box grows to 1000 px)."""

MIN_EXTENT_PX = 1e-5
"""Smallest reference side when encoding edge-based boxes (Seamless)."""


def _centers_and_extents(boxes: Tensor, *, inclusive: bool) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    extent = high - low
    return (low + high) * 0.5, extent + 1 if inclusive else extent


def encode_boxes(references: Tensor, targets: Tensor, *, inclusive: bool = False) -> Tensor:
    """Express target boxes relative to reference boxes.

    Args:
        references: ``(..., 4)`` boxes; edge-based sides below 1e-5 px count as 1e-5 px.
        targets: Boxes of the same shape with positive sides.
        inclusive: Corners are inclusive pixels (sides measure x1 - x0 + 1).

    Returns:
        ``(..., 4)`` codes.
    """
    center, extent = _centers_and_extents(references, inclusive=inclusive)
    target_center, target_extent = _centers_and_extents(targets, inclusive=inclusive)
    if not inclusive:
        extent = extent.clamp(min=MIN_EXTENT_PX)
    return torch.cat([(target_center - center) / extent, (target_extent / extent).log()], dim=-1)


def decode_boxes(
    references: Tensor,
    codes: Tensor,
    *,
    inclusive: bool = False,
    clamp_both_sides: bool = False,
) -> Tensor:
    """Apply codes to reference boxes, the inverse of ``encode_boxes``.

    Args:
        references: ``(..., 4)`` boxes.
        codes: ``(..., 4)`` codes, broadcast against the references.
        inclusive: Corners are inclusive pixels.
        clamp_both_sides: Also clamp small log ratios, at the negative of the largest.

    Returns:
        ``(..., 4)`` boxes.

    Example:
        >>> box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
        >>> decode_boxes(box, torch.tensor([[0.5, 0.0, 0.0, 0.0]])).tolist()
        [[20.0, 20.0, 40.0, 60.0]]
    """
    center, extent = _centers_and_extents(references, inclusive=inclusive)
    low_ratio = -MAX_LOG_RATIO if clamp_both_sides else None
    half = extent * codes[..., 2:].clamp(min=low_ratio, max=MAX_LOG_RATIO).exp() * 0.5
    middle = center + extent * codes[..., :2]
    if inclusive:
        half = half - 0.5
    return torch.cat([middle - half, middle + half], dim=-1)
