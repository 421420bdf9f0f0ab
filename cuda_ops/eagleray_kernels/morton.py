"""Morton (z-order) codes of 3-D grid cells, by which occupancy grids are indexed."""

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import require_shape

define_operator("encode_morton(Tensor coords) -> Tensor")
define_operator("decode_morton(Tensor codes) -> Tensor")


def encode_morton(coords: Tensor) -> Tensor:
    """Interleave the bits of cell coordinates: bit i of x, y, z goes to bit 3i, 3i+1, 3i+2.

    Args:
        coords: (N, 3) int32, each from 0 to 1023.

    Returns:
        (N,) int32 codes.

    Raises:
        KernelInputError: if the shape is another.
    """
    require_shape("coords", coords, ("N", 3))
    coords = coords.to(torch.int32)
    if uses_compiled(coords.device.type):
        return torch.ops.eagleray.encode_morton(coords)
    return twin.encode_morton(coords)


def decode_morton(codes: Tensor) -> Tensor:
    """Invert `encode_morton`.

    Args:
        codes: (N,) int32.

    Returns:
        (N, 3) int32 cell coordinates.

    Raises:
        KernelInputError: if the shape is another.
    """
    require_shape("codes", codes, ("N",))
    codes = codes.to(torch.int32)
    if uses_compiled(codes.device.type):
        return torch.ops.eagleray.decode_morton(codes)
    return twin.decode_morton(codes)


@torch.library.register_fake("eagleray::encode_morton", lib=LIBRARY)
def _encode_morton_fake(coords: Tensor) -> Tensor:
    return coords.new_empty(coords.shape[0])


@torch.library.register_fake("eagleray::decode_morton", lib=LIBRARY)
def _decode_morton_fake(codes: Tensor) -> Tensor:
    return codes.new_empty(codes.shape[0], 3)
