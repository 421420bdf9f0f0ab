"""Packing a density grid into occupancy bits."""

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError

define_operator("pack_bits(Tensor values, float threshold) -> Tensor")


def pack_bits(values: Tensor, threshold: float) -> Tensor:
    """Pack `value > threshold` into bits, eight values to a byte, the first in the lowest bit.

    Args:
        values: float32 of any shape, read flat; the number of values is a multiple of 8.
        threshold: values equal to it give 0.

    Returns:
        (number of values / 8,) uint8.

    Raises:
        KernelInputError: if the number of values is not a multiple of 8.
    """
    if values.numel() % 8:
        message = f"values must be a multiple of 8 many, found {values.numel()}"
        raise KernelInputError(message)
    flat = values.detach().to(torch.float32).reshape(-1)
    if uses_compiled(flat.device.type):
        return torch.ops.eagleray.pack_bits(flat, threshold)
    return twin.pack_bits(flat, threshold)


@torch.library.register_fake("eagleray::pack_bits", lib=LIBRARY)
def _pack_bits_fake(values: Tensor, threshold: float) -> Tensor:
    return values.new_empty(values.shape[0] // 8, dtype=torch.uint8)
