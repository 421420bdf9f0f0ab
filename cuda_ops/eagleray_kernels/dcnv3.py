"""Deformable convolution v3 (InternImage, Wang 2023, arXiv 2211.05778): its sampling core.

Per output position and group, a weighted sum of bilinear samples around a regular kernel grid:

    y_g(p) = sum_k m_gk(p) v_g(c - pad + p stride - s c + s (dilation k + o_gk(p)))

with c = floor(dilation (kernel - 1) / 2), s the offset scale, positions in pixels whose centers are
integers, and zero outside of the map. The projections, the softmax over the weights and the
center-feature scale are the caller's.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.bilinear import with_positions_type
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError, require_shape

_ARGUMENTS = (
    "Tensor value, Tensor offsets, Tensor weights, int[] kernel_size, int[] stride, "
    "int[] padding, int[] dilation, int groups, float offset_scale"
)
define_operator(f"dcn_v3({_ARGUMENTS}) -> Tensor")
define_operator(f"dcn_v3_backward(Tensor grad, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")

Size = int | tuple[int, int]
"""One number for both axes, or (along y, along x)."""


def dcn_v3(
    value: Tensor,
    offsets: Tensor,
    weights: Tensor,
    *,
    kernel_size: Size = 3,
    stride: Size = 1,
    padding: Size = 1,
    dilation: Size = 1,
    groups: int,
    offset_scale: float = 1.0,
) -> Tensor:
    """Sample a map at learned offsets and sum the samples by learned weights.

    Differentiable in the map, the offsets and the weights. Positions are computed in single
    precision whatever the type of the map is, so that autocast costs them nothing: give offsets
    and weights from layers that run outside of it.

    Args:
        value: (N, H, W, G D) map, float64, float32, float16 or bfloat16.
        offsets: (N, Ho, Wo, G K 2) x and y in pixels of the map, K = kernel height * width points
            in x-major order (all y of the first x first); float32, or float64 with such a map.
            Half precision is cast.
        weights: (N, Ho, Wo, G K) used as they are; types as those of the offsets.
        kernel_size: of the regular grid.
        stride: pixels of the map per output position.
        padding: how far the regular grid begins outside of the map.
        dilation: pixels between the points of the regular grid.
        groups: G, groups of D channels with offsets and weights of their own.
        offset_scale: s, on the grid and on the offsets.

    Returns:
        (N, Ho, Wo, G D) of the map's type.

    Raises:
        KernelInputError: if shapes, types or sizes do not fit.
    """
    require_shape("value", value, ("N", "H", "W", "C"))
    images, height, width, channels = value.shape
    kernel, strides, pads, dilations = (
        _pair(name, size, least)
        for name, size, least in (
            ("kernel_size", kernel_size, 1),
            ("stride", stride, 1),
            ("padding", padding, 0),
            ("dilation", dilation, 1),
        )
    )
    if groups < 1 or channels % groups or channels == 0:
        message = f"groups must divide the {channels} channels of value, found {groups}"
        raise KernelInputError(message)
    out = tuple(
        (size + 2 * pads[axis] - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
        for axis, size in enumerate((height, width))
    )
    if min(*out, height, width) < 1:
        message = f"a map of {height} x {width} is too small for kernel {kernel}, padding {pads}"
        raise KernelInputError(message)
    points = groups * kernel[0] * kernel[1]
    require_shape("offsets", offsets, (images, *out, 2 * points))
    require_shape("weights", weights, (images, *out, points))
    offsets, weights = with_positions_type(value, offsets=offsets, weights=weights)
    numbers = kernel, strides, pads, dilations, groups, float(offset_scale)
    if uses_compiled(value.device.type):
        return torch.ops.eagleray.dcn_v3(value, offsets, weights, *numbers)
    with torch.autocast(value.device.type, enabled=False):
        return twin.dcn_v3(value, offsets, weights, *numbers)


def _pair(name: str, size: Size, least: int) -> tuple[int, int]:
    """The size along y and along x.

    Raises:
        KernelInputError: if it is no pair or below the least allowed.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < least:
        message = f"{name} must be one number or (along y, along x), {least} or more, found {size}"
        raise KernelInputError(message)
    return pair[0], pair[1]


@torch.library.register_fake("eagleray::dcn_v3", lib=LIBRARY)
def _dcn_v3_fake(
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
    return value.new_empty(*offsets.shape[:3], value.shape[3])


@torch.library.register_fake("eagleray::dcn_v3_backward", lib=LIBRARY)
def _dcn_v3_backward_fake(
    grad: Tensor,
    value: Tensor,
    offsets: Tensor,
    weights: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    offset_scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        value.new_empty(value.shape),
        offsets.new_empty(offsets.shape),
        weights.new_empty(weights.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.numbers = inputs[3:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.eagleray.dcn_v3_backward(grad, *ctx.saved_tensors, *ctx.numbers)
    return *grads, *(None for _ in ctx.numbers)


torch.library.register_autograd("eagleray::dcn_v3", _backward, setup_context=_save, lib=LIBRARY)
