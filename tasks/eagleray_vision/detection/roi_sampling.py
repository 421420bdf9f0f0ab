"""Cut fixed-size features out of feature maps, one sample per output cell ("RoI sampling").

Unlike RoIAlign, nothing is averaged: output cell ``(i, j)`` of a box is one interpolated value at
``y = y0 + (i + 0.5) / rows * (y1 - y0)``. The feature cell ``k`` has its center at ``k + 0.5``.
Neighbors outside of the map are the border's ("border") or contribute zero ("zeros"); with "band",
samples farther out than one cell are zero and the others the border's (RoIAlign's rule). Averaging
the samples 2 x 2 gives RoIAlign with two samples per axis, which ``roi_align`` offers.

Source: Porzi et al., "Seamless Scene Segmentation", CVPR 2019; level rule: Lin et al., "Feature
Pyramid Networks", CVPR 2017, equation 1.

A bilinear sample is a weighted sum of four rows of a (pixels, channels) table, which is what
``embedding_bag`` computes: several times faster on CPUs than ``grid_sample``, and without the
intermediate samples where they are averaged right away.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Padding = Literal["border", "zeros", "band"]


def sample_positions(low: Tensor, high: Tensor, num_cells: int) -> Tensor:
    """Return the sample coordinates of ``(n,)`` intervals cut into cells, ``(n, num_cells)``."""
    steps = torch.arange(num_cells, dtype=low.dtype, device=low.device) + 0.5
    return low[:, None] + steps / num_cells * (high - low)[:, None]


def _neighbors(
    position: Tensor, size: int, interpolation: str, padding: str
) -> tuple[Tensor, Tensor]:
    """Return clamped index and weight of the 1 or 2 cells that each position reads."""
    below = (position - 0.5).floor()
    fraction = position - (below + 0.5)
    if interpolation == "nearest":
        index = torch.where(fraction < 0.5, below, below + 1).unsqueeze(-1)
        weight = torch.ones_like(index)
    else:
        index = torch.stack([below, below + 1], dim=-1)
        weight = torch.stack([1 - fraction, fraction], dim=-1)
    clamped = index.clamp(0, size - 1)
    if padding == "zeros":
        weight = torch.where(clamped == index, weight, 0)
    elif padding == "band":
        near = (position >= -0.5) & (position <= size + 0.5)
        weight = torch.where(near.unsqueeze(-1), weight, 0)
    return clamped.long(), weight


def roi_sample(
    x: Tensor,
    boxes_yxyx: Tensor,
    batch_idx: Tensor,
    out_size: tuple[int, int],
    *,
    interpolation: Literal["bilinear", "nearest"] = "bilinear",
    padding: Padding = "border",
    average: int = 1,
) -> Tensor:
    """Sample boxes from a batch of feature maps.

    Args:
        x: ``(n, c, h, w)`` floating point features, or integer labels with ``nearest``.
        boxes_yxyx: ``(r, 4)`` boxes in feature cells.
        batch_idx: Image of each box, ``(r,)`` int64.
        out_size: Rows and columns sampled per box.
        interpolation: Bilinear, or the cell that holds the sample.
        padding: What cells outside of the map contribute.
        average: Average blocks of ``average`` x ``average`` samples; must divide ``out_size``.

    Returns:
        ``(r, c, rows / average, columns / average)`` of x's type, also for r = 0. Gradients flow to
        x only. Half types are summed in float32.

    Raises:
        ValueError: If ``average`` does not divide ``out_size``, or integers would be averaged.
    """
    rows, columns = out_size
    if rows % average or columns % average:
        raise ValueError(f"out_size {out_size} cannot be averaged in blocks of {average}")
    count, channels, height, width = x.shape
    boxes = boxes_yxyx if boxes_yxyx.dtype == torch.float64 else boxes_yxyx.float()
    y0, x0, y1, x1 = boxes.detach().unbind(1)
    y_idx, y_weight = _neighbors(sample_positions(y0, y1, rows), height, interpolation, padding)
    x_idx, x_weight = _neighbors(sample_positions(x0, x1, columns), width, interpolation, padding)
    if not x.is_floating_point():
        if interpolation != "nearest" or average != 1:
            raise ValueError("integer labels can only be sampled with nearest and average=1")
        labels = x[batch_idx[:, None, None], :, y_idx, x_idx.transpose(1, 2)].movedim(-1, 1)
        inside = (y_weight * x_weight.transpose(1, 2)).unsqueeze(1)
        return torch.where(inside > 0, labels, 0)
    y_idx, y_weight = _merge_blocks(y_idx, average), _merge_blocks(y_weight, average) / average
    x_idx, x_weight = _merge_blocks(x_idx, average), _merge_blocks(x_weight, average) / average
    y_row = (y_idx + batch_idx[:, None, None] * height)[:, :, None, :, None] * width
    index = (y_row + x_idx[:, None, :, None, :]).flatten(3).flatten(0, 2)
    weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
    rows_of_pixels = x.permute(0, 2, 3, 1).contiguous()  # strided rows would be read slowly
    table = rows_of_pixels.view(count * height * width, channels)
    if table.dtype not in (torch.float32, torch.float64):
        table = table.float()
    shape = (boxes.shape[0], rows // average, columns // average, channels)
    if index.shape[0] == 0:
        return (x.new_zeros(shape) + 0 * x.sum()).permute(0, 3, 1, 2)
    samples = F.embedding_bag(
        index,
        table,
        per_sample_weights=weight.flatten(3).flatten(0, 2).to(table.dtype),
        mode="sum",
    )
    return samples.view(shape).permute(0, 3, 1, 2).to(x.dtype)


def _merge_blocks(values: Tensor, average: int) -> Tensor:
    """Join the neighbors of ``average`` successive samples: ``(r, n, k)`` to ``(r, n/a, a*k)``."""
    return values.reshape(values.shape[0], values.shape[1] // average, average * values.shape[2])


def valid_samples(
    boxes_yxyx: Tensor, map_size: tuple[int, int], out_size: tuple[int, int]
) -> Tensor:
    """Tell which samples of ``roi_sample`` lie inside of the map.

    Returns:
        ``(r, rows, columns)`` bool: 0 <= y < height and 0 <= x < width.
    """
    y0, x0, y1, x1 = boxes_yxyx.unbind(1)
    y = sample_positions(y0, y1, out_size[0])
    x = sample_positions(x0, x1, out_size[1])
    y_inside = (y >= 0) & (y < map_size[0])
    x_inside = (x >= 0) & (x < map_size[1])
    return y_inside[:, :, None] & x_inside[:, None, :]


def fpn_levels(
    boxes: Tensor,
    num_levels: int,
    *,
    canonical_scale: float = 224.0,
    canonical_level: int = 2,
    inclusive: bool = False,
) -> Tensor:
    """Choose the pyramid level of each box by its size.

    ``floor(canonical_level + log2(sqrt(area) / canonical_scale + 1e-6))``, clamped to the levels
    that there are (Lin et al., equation 1; Seamless and EfficientPS, the latter with
    ``canonical_scale=56, canonical_level=0, inclusive=True``).

    Args:
        boxes: ``(r, 4)`` boxes in pixels.
        num_levels: Number of levels.
        canonical_scale: Root of the area, in pixels, that belongs to the canonical level.
        canonical_level: Its index.
        inclusive: Corners are inclusive pixels.

    Returns:
        ``(r,)`` int64 in 0 .. num_levels - 1.
    """
    extent = boxes[:, 2:] - boxes[:, :2]
    if inclusive:
        extent = extent + 1
    scale = (extent[:, 0] * extent[:, 1]).sqrt()
    level = (canonical_level + (scale / canonical_scale + 1e-6).log2()).floor()
    return level.clamp(0, num_levels - 1).long()


def shift_scaled_boxes(
    boxes_yxyx: Tensor, map_size: tuple[int, int], image_size: tuple[int, int]
) -> Tensor:
    """Bring boxes from image pixels to feature cells as Seamless does: ``(p - 0.5) * f + 0.5``.

    Args:
        boxes_yxyx: ``(r, 4)`` boxes in pixels of the padded image.
        map_size: Height and width of the feature map.
        image_size: Height and width of the padded image.
    """
    factor = boxes_yxyx.new_tensor(
        [map_size[0] / image_size[0], map_size[1] / image_size[1]]
    ).repeat(2)
    return (boxes_yxyx - 0.5) * factor + 0.5


def roi_sample_fpn(
    levels: Sequence[Tensor],
    boxes_yxyx: Tensor,
    batch_idx: Tensor,
    image_size: tuple[int, int],
    out_size: tuple[int, int],
    *,
    canonical_scale: float = 224.0,
    canonical_level: int = 2,
    average: int = 1,
) -> Tensor:
    """Sample each box from the pyramid level that fits its size.

    Args:
        levels: ``(n, c, h, w)`` feature maps, finest first.
        boxes_yxyx: ``(r, 4)`` boxes in pixels of the padded image.
        batch_idx: Image of each box, ``(r,)`` int64.
        image_size: Height and width of the padded image.
        out_size: Rows and columns sampled per box.
        canonical_scale: As in ``fpn_levels``.
        canonical_level: As in ``fpn_levels``.
        average: As in ``roi_sample``.

    Returns:
        ``(r, c, rows / average, columns / average)``.
    """
    target = fpn_levels(
        boxes_yxyx,
        len(levels),
        canonical_scale=canonical_scale,
        canonical_level=canonical_level,
    )

    def sample(level: int, chosen: Tensor) -> Tensor:
        x = levels[level]
        map_size = (x.shape[2], x.shape[3])
        boxes = shift_scaled_boxes(boxes_yxyx[chosen], map_size, image_size)
        return roi_sample(x, boxes, batch_idx[chosen], out_size, average=average)

    return pool_by_level(target, len(levels), sample)


def pool_by_level(target: Tensor, num_levels: int, pool: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Pool each box from the level of a pyramid that is its own.

    Every level is read, also by no box at all, so that all ranks build the same graph.

    Args:
        target: Level of each box, ``(r,)`` int64.
        num_levels: Number of levels.
        pool: Gives features ``(k, c, rows, columns)`` of the boxes with some indices ``(k,)``, from
            the level with a number.

    Returns:
        ``(r, c, rows, columns)``, in the order of the boxes.
    """
    order = [(target == level).nonzero()[:, 0] for level in range(num_levels)]
    parts = [pool(level, chosen) for level, chosen in enumerate(order)]
    position = torch.cat(order)
    inverse = torch.empty_like(position)
    inverse[position] = torch.arange(position.shape[0], device=position.device)
    rows_of_cells = torch.cat([part.permute(0, 2, 3, 1) for part in parts])  # as sampled
    return rows_of_cells[inverse].permute(0, 3, 1, 2)


def roi_align(
    x: Tensor,
    boxes_yxyx: Tensor,
    batch_idx: Tensor,
    out_size: tuple[int, int],
    *,
    stride: float,
    samples: int = 2,
    half_pixel: bool = False,
    min_side: float = 0.0,
) -> Tensor:
    """Average bilinear samples per cell (RoIAlign; He et al., "Mask R-CNN", ICCV 2017).

    Samples within a cell of the map count as the border's, those farther out as zero.

    Args:
        x: ``(n, c, h, w)`` features.
        boxes_yxyx: ``(r, 4)`` boxes in pixels; for inclusive corners add 1 to the last two
            (EfficientPS).
        batch_idx: Image of each box, ``(r,)`` int64.
        out_size: Rows and columns.
        stride: Pixels per feature cell.
        samples: Samples per cell and axis.
        half_pixel: Cell k has its center at k + 0.5 (torchvision's ``aligned=True``) instead of k
            (the older flavor).
        min_side: Shortest side of a box in feature cells; torchvision's older flavor has 1, the
            original CUDA kernel 0.

    Returns:
        ``(r, c, rows, columns)``.
    """
    boxes = boxes_yxyx if boxes_yxyx.dtype == torch.float64 else boxes_yxyx.float()
    low = boxes[:, :2] / stride
    extent = (boxes[:, 2:] / stride - low).clamp(min=min_side)
    if not half_pixel:
        low = low + 0.5
    return roi_sample(
        x,
        torch.cat([low, low + extent], dim=1),
        batch_idx,
        (out_size[0] * samples, out_size[1] * samples),
        padding="band",
        average=samples,
    )
