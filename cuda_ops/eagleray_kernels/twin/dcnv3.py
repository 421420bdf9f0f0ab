"""Deformable convolution v3 through grid_sample, one map per image and group."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eagleray_kernels.twin.sampling import sample


def dcn_v3(
    value: Tensor,
    offsets: Tensor,
    weights: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    offset_scale: float,
) -> Tensor:
    """Twin of `torch.ops.eagleray.dcn_v3`."""
    images, height, width, channels = value.shape
    out_height, out_width = offsets.shape[1:3]
    points = kernel_size[0] * kernel_size[1]
    num_out = out_height * out_width
    # Kernel points before output positions: the weighted sum then runs over long rows.
    shape = images, num_out, groups, points
    moved = offsets.reshape(*shape, 2).permute(0, 2, 3, 1, 4) * offset_scale
    regular = _regular_positions(
        offsets, kernel_size, stride, padding, dilation, offset_scale=offset_scale
    )
    size = offsets.new_tensor([width, height])
    grid = (2.0 * (regular + moved) + 1.0) / size - 1.0
    maps = value.reshape(images, height * width, groups, channels // groups).permute(0, 2, 3, 1)
    sampled = sample(
        maps.reshape(images * groups, channels // groups, height, width).to(offsets.dtype),
        grid.reshape(images * groups, points, num_out, 2),
    )
    weighted = sampled * weights.reshape(shape).permute(0, 2, 3, 1).reshape(
        images * groups, 1, points, num_out
    )
    summed = weighted.sum(2).reshape(images, channels, num_out).transpose(1, 2)
    return summed.reshape(images, out_height, out_width, channels).to(value.dtype)


def _regular_positions(
    offsets: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    offset_scale: float,
) -> Tensor:
    """(points, Ho Wo, 2) x, y of the kernel points in pixels of the map where no offset is."""
    axes = []
    for axis, num_out in enumerate(offsets.shape[1:3]):
        center = dilation[axis] * (kernel_size[axis] - 1) // 2
        start = center - padding[axis] - center * offset_scale
        outputs = offsets.new_tensor(range(num_out)) * stride[axis]
        taps = offsets.new_tensor(range(kernel_size[axis])) * dilation[axis] * offset_scale
        axes.append(outputs + taps[:, None] + start)
    y, x = axes
    shape = x.shape[0], y.shape[0], y.shape[1], x.shape[1]  # taps x-major, outputs row-major
    x, y = x[:, None, None, :].expand(shape), y[None, :, :, None].expand(shape)
    return torch.stack([x, y], -1).reshape(-1, shape[2] * shape[3], 2)
