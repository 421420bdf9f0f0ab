"""Bit packing."""

import torch
from torch import Tensor


def pack_bits(values: Tensor, threshold: float) -> Tensor:
    """Twin of `eagleray_kernels.pack_bits` for flat values."""
    bit_values = 2 ** torch.arange(8, device=values.device, dtype=torch.uint8)
    occupied = (values > threshold).view(-1, 8)
    return (occupied * bit_values).sum(dim=1, dtype=torch.uint8)
