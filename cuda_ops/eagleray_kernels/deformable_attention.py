"""Multi-scale deformable attention (Deformable DETR, Zhu 2021, arXiv 2010.04159, equation 3).

Every query of every head sums bilinear samples of the maps of several sizes by its weights.
Projections and the softmax are the caller's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.bilinear import with_positions_type
from eagleray_kernels.errors import KernelInputError, require_shape


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
    if not shapes or any(len(shape) != 2 or min(shape) < 1 for shape in shapes):
        message = f"spatial_shapes must be (height, width) per level, found {shapes}"
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
    with torch.autocast(value.device.type, enabled=False):
        return twin.deformable_attention(value, heights, widths, locations, weights)
