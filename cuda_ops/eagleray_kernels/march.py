"""Marching rays through occupied space.

A step has length `clamp(t * step_factor, sqrt(3) / max_samples, 2 sqrt(3) scale / grid_size)`, the
lower bound winning where they cross. Rays need not be normalized: t counts in units of the
direction.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import (
    KernelInputError,
    require_power_of_two,
    require_rows,
    require_shape,
)

_MAX_GRID_SIZE = 1024  # ten bits per axis in a Morton code
_MAX_CASCADES = 24

define_operator(
    "march_train(Tensor rays_o, Tensor rays_d, Tensor hits_t, Tensor bitfield, Tensor noise, "
    "int cascades, float scale, float step_factor, int grid_size, int max_samples, "
    "int max_total_samples, bool skip_empty_blocks) -> (Tensor, Tensor, Tensor, Tensor)"
)
define_operator(
    "march_test(Tensor rays_o, Tensor rays_d, Tensor(a!) hits_t, Tensor alive, Tensor bitfield, "
    "int cascades, float scale, float step_factor, int grid_size, int max_samples, "
    "int num_samples, float step_scale, bool skip_empty_blocks) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


@dataclass(frozen=True, kw_only=True)
class MarchSettings:
    """The occupancy grid's shape and the lengths of steps.

    Raises:
        KernelInputError: if a value cannot be.
    """

    scale: float
    """Half side S of the scene cube; cascade c covers [-s, s]^3 with s = min(2^(c-1), S)."""
    cascades: int
    """Number of cascades."""
    grid_size: int = 128
    """Cells per axis of a cascade, a power of two."""
    step_factor: float = 0.0
    """Growth of the step with t; 0 for constant steps, 1/256 for large scenes."""
    max_samples: int = 1024
    """Most samples of a ray; also sets the smallest step."""
    skip_empty_blocks: bool = True
    """Cross empty blocks of 8^3 and 32^3 cells at once; never changes the samples."""

    def __post_init__(self) -> None:
        require_power_of_two("grid_size", self.grid_size, maximum=_MAX_GRID_SIZE)
        if not 1 <= self.cascades <= _MAX_CASCADES:
            message = f"cascades must be from 1 to {_MAX_CASCADES}, found {self.cascades}"
            raise KernelInputError(message)
        if not self.scale > 0.0 or self.step_factor < 0.0 or self.max_samples < 1:
            message = (
                "scale must be above 0, step_factor 0 or more, max_samples 1 or more; found "
                f"{self.scale}, {self.step_factor}, {self.max_samples}"
            )
            raise KernelInputError(message)


class TrainingSamples(NamedTuple):
    """All samples of N rays, packed ray after ray in the order of the rays."""

    packed_info: Tensor
    """(N, 3) int64 rows (ray, first sample, number of samples)."""
    positions: Tensor
    """(M, 3) positions; differentiable in origins and directions."""
    directions: Tensor
    """(M, 3) directions of the samples' rays, not normalized."""
    step_sizes: Tensor
    """(M,) float32 lengths of the steps."""
    t_starts: Tensor
    """(M,) float32 distances: where a sample's interval begins."""
    counter: Tensor
    """(2,) int32: samples, and rays that were marched, fewer than N where a bound was met."""


class LiveSamples(NamedTuple):
    """The next n samples of A live rays; unfilled ones are zero."""

    positions: Tensor
    """(A, n, 3) float32."""
    directions: Tensor
    """(A, n, 3) float32."""
    step_sizes: Tensor
    """(A, n) float32."""
    t_starts: Tensor
    """(A, n) float32."""
    counts: Tensor
    """(A,) int32: samples that were found."""


def march_training_rays(
    rays_o: Tensor,
    rays_d: Tensor,
    hits_t: Tensor,
    bitfield: Tensor,
    noise: Tensor,
    settings: MarchSettings,
    *,
    max_total_samples: int | None = None,
) -> TrainingSamples:
    """Place samples on the occupied parts of rays.

    Memory is bounded by 32 bytes per sample, and by `max_total_samples` of them: where the rays
    have more, the rays from the first one on that does not fit get none, and `counter[1]` tells how
    many were marched, so that the caller can leave the others out of the loss.

    Args:
        rays_o: (N, 3) float32 origins in the scene's frame, the cube's center being 0.
        rays_d: (N, 3) float32 directions.
        hits_t: (N, 2) near and far distance in the cube; a negative near distance is a miss.
        bitfield: (cascades * grid_size^3 / 8,) uint8 occupancy bits in Morton order.
        noise: (N,) in [0, 1): part of a step by which the first sample is moved.
        settings: the grid and the steps.
        max_total_samples: most samples of all rays together; None for no bound.

    Returns:
        The samples.

    Raises:
        KernelInputError: if shapes do not fit.
    """
    _check(rays_o, rays_d, hits_t, bitfield, settings)
    require_shape("noise", noise, ("N",))
    require_rows(rays_o.shape[0], noise=noise)
    if max_total_samples is not None and max_total_samples < 1:
        message = f"max_total_samples must be 1 or more, or None; found {max_total_samples}"
        raise KernelInputError(message)
    rays = [tensor.detach().float() for tensor in (rays_o, rays_d, hits_t)]
    march = torch.ops.eagleray if uses_compiled(rays_o.device.type) else twin
    packed_info, step_sizes, t_starts, counter = march.march_train(
        *rays,
        bitfield,
        noise.detach().float(),
        settings.cascades,
        settings.scale,
        settings.step_factor,
        settings.grid_size,
        settings.max_samples,
        max_total_samples or 0,
        settings.skip_empty_blocks,
    )
    positions, directions = points_on_rays(rays_o, rays_d, t_starts, packed_info)
    return TrainingSamples(packed_info, positions, directions, step_sizes, t_starts, counter)


def points_on_rays(
    rays_o: Tensor, rays_d: Tensor, t_starts: Tensor, packed_info: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the positions and directions of packed samples, differentiable in the rays.

    Args:
        rays_o: (N, 3) origins.
        rays_d: (N, 3) directions.
        t_starts: (M,) distances of the samples, packed in the order of packed_info.
        packed_info: (N, 3) int64 rows (ray, first sample, number of samples), without gaps.

    Returns:
        (M, 3) positions `o + t d` and (M, 3) directions.
    """
    ray_of_sample = torch.repeat_interleave(
        packed_info[:, 0], packed_info[:, 2], output_size=t_starts.shape[0]
    )
    directions = rays_d.index_select(0, ray_of_sample)
    return rays_o.index_select(0, ray_of_sample) + t_starts[:, None] * directions, directions


def march_live_rays_(
    rays_o: Tensor,
    rays_d: Tensor,
    hits_t: Tensor,
    alive: Tensor,
    bitfield: Tensor,
    settings: MarchSettings,
    *,
    num_samples: int,
    faithful: bool = True,
) -> LiveSamples:
    """Find the next samples of the rays that are still alive, and move their near distances there.

    Args:
        rays_o: (N, 3) float32 origins.
        rays_d: (N, 3) float32 directions.
        hits_t: (N, 2) float32 contiguous near and far distances; the near one of a ray that gets
            samples is overwritten with where its march goes on.
        alive: (A,) int64 indices of the live rays; negative ones get no samples.
        bitfield: (cascades * grid_size^3 / 8,) uint8 occupancy bits in Morton order.
        settings: the grid and the steps.
        num_samples: most samples per ray, n.
        faithful: keep the original's upper bound of the step, which has the number of cascades in
            the place of the scale; no difference with constant steps.

    Returns:
        The samples.

    Raises:
        KernelInputError: if shapes do not fit or hits_t cannot be updated in place.
    """
    _check(rays_o, rays_d, hits_t, bitfield, settings)
    require_shape("alive", alive, ("A",))
    if hits_t.dtype != torch.float32 or not hits_t.is_contiguous():
        message = f"hits_t must be contiguous float32 to be updated in place, found {hits_t.dtype}"
        raise KernelInputError(message)
    march = torch.ops.eagleray if uses_compiled(rays_o.device.type) else twin
    samples = march.march_test(
        rays_o.detach().float(),
        rays_d.detach().float(),
        hits_t,
        alive,
        bitfield,
        settings.cascades,
        settings.scale,
        settings.step_factor,
        settings.grid_size,
        settings.max_samples,
        num_samples,
        float(settings.cascades) if faithful else settings.scale,
        settings.skip_empty_blocks,
    )
    return LiveSamples(*samples)


def _check(
    rays_o: Tensor, rays_d: Tensor, hits_t: Tensor, bitfield: Tensor, settings: MarchSettings
) -> None:
    require_shape("rays_o", rays_o, ("N", 3))
    require_shape("rays_d", rays_d, ("N", 3))
    require_shape("hits_t", hits_t, ("N", 2))
    require_rows(rays_o.shape[0], rays_d=rays_d, hits_t=hits_t)
    require_shape("bitfield", bitfield, (settings.cascades * settings.grid_size**3 // 8,))


@torch.library.register_fake("eagleray::march_train", lib=LIBRARY)
def _march_train_fake(
    rays_o: Tensor,
    rays_d: Tensor,
    hits_t: Tensor,
    bitfield: Tensor,
    noise: Tensor,
    cascades: int,
    scale: float,
    step_factor: float,
    grid_size: int,
    max_samples: int,
    max_total_samples: int,
    skip_empty_blocks: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_samples = torch.library.get_ctx().new_dynamic_size()
    return (
        rays_o.new_empty(rays_o.shape[0], 3, dtype=torch.int64),
        rays_o.new_empty(num_samples),
        rays_o.new_empty(num_samples),
        rays_o.new_empty(2, dtype=torch.int32),
    )


@torch.library.register_fake("eagleray::march_test", lib=LIBRARY)
def _march_test_fake(
    rays_o: Tensor,
    rays_d: Tensor,
    hits_t: Tensor,
    alive: Tensor,
    bitfield: Tensor,
    cascades: int,
    scale: float,
    step_factor: float,
    grid_size: int,
    max_samples: int,
    num_samples: int,
    step_scale: float,
    skip_empty_blocks: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shape = (alive.shape[0], num_samples)
    return (
        rays_o.new_empty(*shape, 3),
        rays_o.new_empty(*shape, 3),
        rays_o.new_empty(shape),
        rays_o.new_empty(shape),
        rays_o.new_empty(alive.shape[0], dtype=torch.int32),
    )
