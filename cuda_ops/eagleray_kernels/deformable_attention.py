"""Multi-scale deformable attention (Deformable DETR, Zhu 2021, arXiv 2010.04159, equation 3).

Every query of every head sums bilinear samples of the maps of several sizes by its weights.
Projections and the softmax are the caller's.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.bilinear import with_positions_type
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError, require_shape

_ARGUMENTS = "Tensor value, int[] heights, int[] widths, Tensor locations, Tensor weights"
define_operator(f"deformable_attention({_ARGUMENTS}) -> Tensor")
define_operator(
    f"deformable_attention_backward(Tensor grad, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)"
)

MAX_LEVELS = 16


def deformable_attention(
    value: Tensor,
    spatial_shapes: Tensor | Sequence[Sequence[int]],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    """Sum samples of maps of several sizes at learned locations by learned weights.

    Differentiable in the maps, the locations and the weights. Computed in single precision, also
    inside of autocast: half precision is cast, and the result is float32.

    Args:
        value: (B, S, M, D) maps of all levels one after another, row-major; M heads of D channels.
        spatial_shapes: (L, 2) height and width of each level; S is the sum of their products. Plain
            numbers spare a tensor on a GPU from being waited for.
        locations: (B, Q, M, L, P, 2) x and y of P points per query, head and level; 0 to 1 from
            edge to edge of the map, samples outside are zero.
        weights: (B, Q, M, L, P) used as they are.

    Returns:
        (B, Q, M D) float32, or float64 for such maps.

    Raises:
        KernelInputError: if shapes, types or sizes do not fit.
    """
    shapes = spatial_shapes.tolist() if isinstance(spatial_shapes, Tensor) else spatial_shapes
    has_sizes = all(len(shape) == 2 and min(shape) >= 1 for shape in shapes)
    if not 1 <= len(shapes) <= MAX_LEVELS or not has_sizes:
        message = (
            f"spatial_shapes must be (height, width) of 1 to {MAX_LEVELS} levels, found {shapes}"
        )
        raise KernelInputError(message)
    heights, widths = ([int(shape[axis]) for shape in shapes] for axis in range(2))
    require_shape("value", value, ("B", "S", "M", "D"))
    batch, rows, heads, _ = value.shape
    asked = sum(height * width for height, width in zip(heights, widths, strict=True))
    if rows != asked:
        message = f"value must have {asked} rows for spatial_shapes {shapes}, found {rows}"
        raise KernelInputError(message)
    require_shape("locations", locations, (batch, "Q", heads, len(heights), "P", 2))
    require_shape("weights", weights, tuple(locations.shape[:-1]))
    locations, weights = with_positions_type(value, locations=locations, weights=weights)
    value = value.to(locations.dtype)
    if uses_compiled(value.device.type):
        return torch.ops.eagleray.deformable_attention(value, heights, widths, locations, weights)
    with torch.autocast(value.device.type, enabled=False):
        return twin.deformable_attention(value, heights, widths, locations, weights)


@torch.library.register_fake("eagleray::deformable_attention", lib=LIBRARY)
def _attention_fake(
    value: Tensor,
    heights: Sequence[int],
    widths: Sequence[int],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    return value.new_empty(value.shape[0], weights.shape[1], value.shape[2] * value.shape[3])


@torch.library.register_fake("eagleray::deformable_attention_backward", lib=LIBRARY)
def _attention_backward_fake(
    grad: Tensor,
    value: Tensor,
    heights: Sequence[int],
    widths: Sequence[int],
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        value.new_empty(value.shape),
        locations.new_empty(locations.shape),
        weights.new_empty(weights.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, *sizes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)
    ctx.sizes = sizes


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    on_value, on_locations, on_weights = torch.ops.eagleray.deformable_attention_backward(
        grad, value, *ctx.sizes, locations, weights
    )
    return on_value, None, None, on_locations, on_weights


torch.library.register_autograd(
    "eagleray::deformable_attention", _backward, setup_context=_save, lib=LIBRARY
)
