"""Anchors: the reference boxes of a region proposal network, one set per feature level.

Boxes are yxyx. The order of a level is row, column, anchor (the anchors of a cell are neighbors),
which is the order of RPN outputs flattened as (height, width, anchor).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_anchors(stride: float, scale: float, ratios: Sequence[float]) -> Tensor:
    """Return edge-based anchors of the cell at the origin, centered at stride / 2.

    Args:
        stride: Size of a feature cell in pixels.
        scale: Root of the anchors' area in cells.
        ratios: Height over width of each anchor.

    Returns:
        ``(len(ratios), 4)`` float64 yxyx boxes: height ``stride * scale * sqrt(ratio)``.
    """
    ratio = torch.tensor(list(ratios), dtype=torch.float64)
    height, width = stride * scale * ratio.sqrt(), stride * scale / ratio.sqrt()
    half = torch.stack([height, width], dim=1) / 2
    return torch.cat([stride / 2 - half, stride / 2 + half], dim=1)


def inclusive_cell_anchors(stride: int, scale: float, ratios: Sequence[float]) -> Tensor:
    """Return anchors of the older convention: inclusive corners rounded to whole pixels.

    The center is (stride - 1) / 2 and corners are rounded half to even, as in mmdetection 1
    (EfficientPS). Arguments and result are those of ``cell_anchors``.
    """
    ratio = torch.tensor(list(ratios), dtype=torch.float64)
    height, width = stride * scale * ratio.sqrt(), stride * scale / ratio.sqrt()
    half = (torch.stack([height, width], dim=1) - 1) / 2
    center = (stride - 1) / 2
    return torch.cat([center - half, center + half], dim=1).round()


def grid_anchors(
    cell: Tensor,
    grid_size: tuple[int, int],
    stride: float,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Repeat the anchors of a cell over a feature map.

    Args:
        cell: ``(a, 4)`` yxyx anchors of the cell at the origin.
        grid_size: Height and width of the feature map in cells.
        stride: Size of a cell in pixels.
        dtype: Type of the result.
        device: Place of the result.

    Returns:
        ``(height * width * a, 4)`` yxyx boxes in row, column, anchor order.
    """
    rows = torch.arange(grid_size[0], dtype=dtype, device=device) * stride
    columns = torch.arange(grid_size[1], dtype=dtype, device=device) * stride
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shift = torch.stack([y, x, y, x], dim=-1).reshape(-1, 1, 4)
    return (shift + cell.to(dtype=dtype, device=device)).reshape(-1, 4)
