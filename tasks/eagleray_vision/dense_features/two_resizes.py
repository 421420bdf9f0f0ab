"""Read a small feature map at pixels of a photograph without ever enlarging the map.

Dense extractors shrink a photograph, make a map of a fraction of that size, enlarge it to the
network's input and then to the photograph, both bilinearly. A point's feature is then a weighted
sum of a few cells of the small map: the weights of the two resizes are composed per point and axis
(docs/originals/pop3d.md 3.3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_POINTS = 1 << 14
"""Points gathered at a time; bounds what is held beside the map."""


def sample_through_resizes(
    feature_map: Tensor, pixels: Tensor, *, middle_hw: tuple[int, int], output_hw: tuple[int, int]
) -> Tensor:
    """Return what ``interpolate(interpolate(map, middle), output)`` has at pixels.

    Args:
        feature_map: (C, h, w) float.
        pixels: (n, 2) int64 (row, column) within ``output_hw``.
        middle_hw: Size of the first resize, the network's input.
        output_hw: Size of the second, the photograph.

    Returns:
        (n, C) in the map's dtype and on its device; bilinear without aligned corners, as
        ``torch.nn.functional.interpolate`` and OpenCV compute it.

    Raises:
        ValueError: A pixel lies outside.
    """
    channels, height, width = feature_map.shape
    size = torch.tensor(output_hw, device=pixels.device)
    if len(pixels) and bool(((pixels < 0) | (pixels >= size)).any()):
        raise ValueError(f"pixels lie outside of {output_hw[0]} x {output_hw[1]}")
    pixels = pixels.to(feature_map.device)
    cells = feature_map.reshape(channels, -1).T.contiguous()
    rows = _taps(pixels[:, 0], height, middle_hw[0], output_hw[0])
    columns = _taps(pixels[:, 1], width, middle_hw[1], output_hw[1])
    out = cells.new_empty((len(pixels), channels))
    for begin in range(0, len(pixels), _CHUNK_POINTS):
        part = slice(begin, begin + _CHUNK_POINTS)
        (row, row_weight), (column, column_weight) = (
            (index[part], weight[part]) for index, weight in (rows, columns)
        )
        index = (row[:, :, None] * width + column[:, None, :]).flatten(1)
        weight = (row_weight[:, :, None] * column_weight[:, None, :]).flatten(1)
        out[part] = F.embedding_bag(
            index, cells, mode="sum", per_sample_weights=weight.to(cells.dtype)
        )
    return out


def _taps(positions: Tensor, size: int, middle: int, output: int) -> tuple[Tensor, Tensor]:
    """Return (n, k) cells and float64 weights of one axis, with equal cells merged where that saves
    some.
    """
    (first, second), share = _neighbours(positions, middle, output)
    index, weight = [], []
    for at, outer in ((first, 1.0 - share), (second, share)):
        (low, high), inner = _neighbours(at, size, middle)
        index += [low, high]
        weight += [outer * (1.0 - inner), outer * inner]
    cells, weights = torch.stack(index, dim=1), torch.stack(weight, dim=1)
    if not len(positions):
        return cells, weights
    base = cells.amin(dim=1, keepdim=True)
    span = int((cells - base).amax()) + 1
    if span >= cells.shape[1]:
        return cells, weights
    merged = weights.new_zeros((len(positions), span)).scatter_add_(1, cells - base, weights)
    places = (base + torch.arange(span, device=base.device)).clamp(max=size - 1)
    return places, merged


def _neighbours(index: Tensor, size: int, output: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the two source cells of output indices, and the weight of the second."""
    at = ((index.double() + 0.5) * (size / output) - 0.5).clamp(min=0.0)
    low = at.floor().long().clamp(max=size - 1)
    return (low, (low + 1).clamp(max=size - 1)), at - low
