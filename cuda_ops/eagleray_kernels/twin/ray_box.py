"""Ray-box and ray-sphere intersections, all rays with all volumes at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def intersect_boxes(
    rays_o: Tensor, rays_d: Tensor, centers: Tensor, half_sizes: Tensor, max_hits: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Twin of `eagleray_kernels.intersect_boxes`."""
    origins, inverses = rays_o[:, None], 1.0 / rays_d[:, None]
    a = (centers - half_sizes - origins) * inverses
    b = (centers + half_sizes - origins) * inverses
    # fmin and fmax pass over NaN: a ray in the plane of a side is bounded by the other sides.
    near = _reduce_nan_free(torch.fmin(a, b), torch.fmax)
    far = _reduce_nan_free(torch.fmax(a, b), torch.fmin)
    return _first_hits(near, far, near <= far, max_hits)


def intersect_spheres(
    rays_o: Tensor, rays_d: Tensor, centers: Tensor, radii: Tensor, max_hits: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Twin of `eagleray_kernels.intersect_spheres`."""
    offsets = rays_o[:, None] - centers
    a = (rays_d * rays_d).sum(-1, keepdim=True)
    half_b = (rays_d[:, None] * offsets).sum(-1)
    discriminant = half_b**2 - a * ((offsets * offsets).sum(-1) - radii**2)
    root = discriminant.clamp(min=0.0).sqrt()
    return _first_hits((-half_b - root) / a, (-half_b + root) / a, discriminant >= 0.0, max_hits)


def _reduce_nan_free(values: Tensor, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    x, y, z = values.unbind(-1)
    return pick(pick(x, y), z)


def _first_hits(
    near: Tensor, far: Tensor, crosses: Tensor, max_hits: int
) -> tuple[Tensor, Tensor, Tensor]:
    is_hit = crosses & (far > 0.0)
    hits_t = near.new_full((len(near), max_hits, 2), -1.0)
    volume_idx = torch.full((len(near), max_hits), -1, device=near.device)
    rank = is_hit.cumsum(1) - 1
    ray, volume = (is_hit & (rank < max_hits)).nonzero(as_tuple=True)
    slot = rank[ray, volume]
    hits_t[ray, slot] = torch.stack([near.clamp(min=0.0), far], -1)[ray, volume]
    volume_idx[ray, slot] = volume
    order = hits_t[:, :, 0].argsort(dim=1, stable=True)
    return (
        is_hit.sum(1, dtype=torch.int32),
        hits_t.gather(1, order[..., None].expand(-1, -1, 2)),
        volume_idx.gather(1, order),
    )
