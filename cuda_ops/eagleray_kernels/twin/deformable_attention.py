"""Multi-scale deformable attention through grid_sample, level by level."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eagleray_kernels.twin.sampling import sample


def deformable_attention(
    value: Tensor,
    heights: Sequence[int],
    widths: Sequence[int],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    """Twin of `torch.ops.eagleray.deformable_attention`."""
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    sizes = [height * width for height, width in zip(heights, widths, strict=True)]
    total = value.new_zeros(batch * heads, channels, queries)
    for level, rows in enumerate(torch.split(value, sizes, 1)):
        maps = rows.permute(0, 2, 3, 1).reshape(
            batch * heads, channels, heights[level], widths[level]
        )
        # Points before queries: the weighted sum then runs over long rows.
        grid = 2.0 * locations[:, :, :, level].permute(0, 2, 3, 1, 4) - 1.0
        sampled = sample(maps, grid.reshape(batch * heads, points, queries, 2))
        weight = weights[:, :, :, level].permute(0, 2, 3, 1)
        total = total + (sampled * weight.reshape(batch * heads, 1, points, queries)).sum(2)
    return total.reshape(batch, heads * channels, queries).transpose(1, 2).contiguous()
