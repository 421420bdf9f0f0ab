"""Intersections of rays with axis-aligned boxes and with spheres."""

from typing import NamedTuple

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError, require_rows, require_shape

_ARGUMENTS = "Tensor rays_o, Tensor rays_d, Tensor centers, Tensor extents, int max_hits"
define_operator(f"intersect_boxes({_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")
define_operator(f"intersect_spheres({_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")


class RayHits(NamedTuple):
    """Hits of N rays with volumes, nearest first; unused slots hold -1 and come before the hits."""

    num_hits: Tensor
    """(N,) int32: all hits in front of the origin, also those beyond max_hits."""
    hits_t: Tensor
    """(N, max_hits, 2) float32: near (0 or more) and far distance in units of the direction."""
    volume_idx: Tensor
    """(N, max_hits) int64: which volume."""


def intersect_boxes(
    rays_o: Tensor, rays_d: Tensor, centers: Tensor, half_sizes: Tensor, max_hits: int = 1
) -> RayHits:
    """Intersect rays with axis-aligned boxes (slab test).

    Where a ray hits more than max_hits boxes, the first ones in the order of the boxes are kept.

    Args:
        rays_o: (N, 3) origins.
        rays_d: (N, 3) directions, of any length; zeros are allowed.
        centers: (V, 3) of the boxes.
        half_sizes: (V, 3).
        max_hits: slots per ray.

    Returns:
        The hits.

    Raises:
        KernelInputError: if shapes do not fit or max_hits is below 1.
    """
    require_shape("half_sizes", half_sizes, ("V", 3))
    return _intersect("boxes", rays_o, rays_d, centers, half_sizes, max_hits)


def intersect_spheres(
    rays_o: Tensor, rays_d: Tensor, centers: Tensor, radii: Tensor, max_hits: int = 1
) -> RayHits:
    """Intersect rays with spheres; arguments and result as of `intersect_boxes`, radii (V,)."""
    require_shape("radii", radii, ("V",))
    return _intersect("spheres", rays_o, rays_d, centers, radii, max_hits)


def _intersect(
    kind: str, rays_o: Tensor, rays_d: Tensor, centers: Tensor, extents: Tensor, max_hits: int
) -> RayHits:
    require_shape("rays_o", rays_o, ("N", 3))
    require_shape("rays_d", rays_d, ("N", 3))
    require_shape("centers", centers, ("V", 3))
    require_rows(rays_o.shape[0], rays_d=rays_d)
    require_rows(centers.shape[0], extents=extents)
    if max_hits < 1:
        message = f"max_hits must be 1 or more, found {max_hits}"
        raise KernelInputError(message)
    tensors = [tensor.detach().float() for tensor in (rays_o, rays_d, centers, extents)]
    source = torch.ops.eagleray if uses_compiled(rays_o.device.type) else twin
    return RayHits(*getattr(source, f"intersect_{kind}")(*tensors, max_hits))


@torch.library.register_fake("eagleray::intersect_boxes", lib=LIBRARY)
@torch.library.register_fake("eagleray::intersect_spheres", lib=LIBRARY)
def _intersect_fake(
    rays_o: Tensor, rays_d: Tensor, centers: Tensor, extents: Tensor, max_hits: int
) -> tuple[Tensor, Tensor, Tensor]:
    num_rays = rays_o.shape[0]
    return (
        rays_o.new_empty(num_rays, dtype=torch.int32),
        rays_o.new_empty(num_rays, max_hits, 2),
        rays_o.new_empty(num_rays, max_hits, dtype=torch.int64),
    )
