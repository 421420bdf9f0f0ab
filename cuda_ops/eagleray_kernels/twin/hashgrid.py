"""Hash grid, level by level."""

import torch
import torch.nn.functional as F
from torch import Tensor

_PRIME_Y, _PRIME_Z = 2654435761, 805459861  # arXiv 2201.05989, equation 4; the first prime is 1
_UINT32 = 0xFFFFFFFF


def hash_grid_encode(
    positions: Tensor, table: Tensor, offsets: Tensor, resolutions: Tensor, scales: Tensor
) -> Tensor:
    """Twin of `torch.ops.eagleray.hash_grid_encode`."""
    sizes = offsets.diff().tolist()
    levels = zip(
        torch.split(table, sizes), sizes, resolutions.tolist(), scales.to(table.dtype), strict=True
    )
    return torch.cat([_encode_level(positions, *level) for level in levels], dim=1)


def _encode_level(
    positions: Tensor, table: Tensor, num_entries: int, resolution: int, scale: Tensor
) -> Tensor:
    q = positions * scale + 0.5
    below = q.detach().floor()
    upper_weight = q - below
    corners = torch.tensor(
        [[(corner >> axis) & 1 for axis in range(3)] for corner in range(8)], device=q.device
    )
    x, y, z = (below.long()[:, None] + corners).unbind(-1)
    if resolution**3 > num_entries:
        index = (x ^ (y * _PRIME_Y) ^ (z * _PRIME_Z)) & _UINT32
    else:
        index = (x + y * resolution + z * resolution**2) & _UINT32
    weights = torch.where(corners.bool(), upper_weight[:, None], 1.0 - upper_weight[:, None])
    weight = weights[..., 0] * weights[..., 1] * weights[..., 2]
    return (weight[..., None] * F.embedding(index % num_entries, table)).sum(1)
