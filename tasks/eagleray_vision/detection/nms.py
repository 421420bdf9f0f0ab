"""Greedy non-maximum suppression in the conventions of both panoptic systems."""

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms as _torchvision_nms


def _just_below(threshold: float, dtype: torch.dtype) -> float:
    """Return the next number below: an IoU above it is an IoU at or above ``threshold``."""
    if dtype == torch.float64:
        return float(np.nextafter(threshold, -np.inf))
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def nms(
    boxes: Tensor,
    scores: Tensor,
    threshold: float,
    *,
    max_kept: int = 0,
    suppress_equal: bool = True,
    inclusive: bool = False,
) -> Tensor:
    """Keep boxes in descending score, dropping those that overlap a kept one.

    Args:
        boxes: ``(n, 4)`` floating point, yxyx or xyxy. The half types are compared in float32.
        scores: ``(n,)``; of equal scores the first comes first.
        threshold: IoU from which a box is dropped.
        max_kept: Largest number of boxes kept; 0 or less = all.
        suppress_equal: Also drop at an IoU of exactly ``threshold`` (Seamless), otherwise
            only above (torchvision, and EfficientPS on GPUs).
        inclusive: Corners are inclusive pixels.

    Returns:
        Positions of the kept boxes in descending score, int64. The IoU of two empty boxes is NaN,
        which suppresses nothing.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5).tolist()
        [1, 2]
    """
    if boxes.dtype not in (torch.float32, torch.float64):
        boxes = boxes.float()
    if inclusive:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + 1], dim=1)
    limit = _just_below(threshold, boxes.dtype) if suppress_equal else threshold
    keep: Tensor = _torchvision_nms(boxes, scores.to(boxes.dtype), limit)
    return keep[:max_kept] if max_kept > 0 else keep
