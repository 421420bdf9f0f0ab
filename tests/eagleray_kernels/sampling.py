"""Bilinear sampling written as its definition, a loop over corners; random maps and positions."""

import math

import torch


def bilinear(rows, x, y):
    """(C,) value of a map (H, W, C) at a position in pixels with integer centers, 0 outside."""
    height, width = rows.shape[:2]
    total = torch.zeros(rows.shape[2], dtype=rows.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * rows[row, column]
    return total


def random(*shape, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
