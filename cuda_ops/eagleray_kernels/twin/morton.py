"""Morton codes, bit by bit."""

import torch
from torch import Tensor

_BITS_PER_AXIS = 10


def encode_morton(coords: Tensor) -> Tensor:
    """Twin of `eagleray_kernels.encode_morton`."""
    codes = torch.zeros_like(coords[:, 0])
    for bit in range(_BITS_PER_AXIS):
        for axis in range(3):
            codes = codes | (((coords[:, axis] >> bit) & 1) << (3 * bit + axis))
    return codes


def decode_morton(codes: Tensor) -> Tensor:
    """Twin of `eagleray_kernels.decode_morton`."""
    coords = torch.zeros_like(codes)[:, None].repeat(1, 3)
    for bit in range(_BITS_PER_AXIS):
        for axis in range(3):
            coords[:, axis] |= ((codes >> (3 * bit + axis)) & 1) << bit
    return coords
