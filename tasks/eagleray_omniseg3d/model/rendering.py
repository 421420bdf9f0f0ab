"""Volume rendering of rays: packed samples for training, growing marches for looking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray_kernels import (
    Composite,
    MarchSettings,
    TrainingSamples,
    composite_live_rays_,
    composite_training_rays,
    intersect_boxes,
    march_live_rays_,
    march_training_rays,
)
from eagleray_omniseg3d.model.field import Field
from eagleray_omniseg3d.model.occupancy import NEAR

TEST_THRESHOLD = 1e-4
"""Transmittance at which a rendered ray stops."""
PREVIEW_THRESHOLD = 1e-2
"""The same in the interactive viewer."""
PREVIEW_SAMPLES = 100
"""Most samples per ray in the interactive viewer."""
_MOST_SAMPLES_PER_TURN = 64
_LEAST_SAMPLES_PER_TURN = 4
_LEAST_OPACITY = 1e-3
_RAYS_AT_ONCE = 1 << 16
_FIRST_ROUND = 8
"""Samples per ray whose density is asked for at first; later rounds grow by half."""
_OPAQUE = -math.log(TEST_THRESHOLD) + 0.5
"""Optical depth behind which no rounding lets a ray of transmittance TEST_THRESHOLD go on."""


def hits_in_cube(rays_o: Tensor, rays_d: Tensor, half_sizes: Tensor) -> Tensor:
    """Return (N, 2) near and far distances in the cube around 0, -1 where it is missed.

    Args:
        rays_o: (N, 3) origins.
        rays_d: (N, 3) directions.
        half_sizes: (3,) half sides, scene units.
    """
    center = torch.zeros(1, 3, device=rays_o.device)
    hits = intersect_boxes(rays_o, rays_d, center, half_sizes[None].to(rays_o.device)).hits_t[:, 0]
    near = hits[:, 0]
    hits[:, 0] = torch.where((near >= 0) & (near < NEAR), NEAR, near)
    return hits.contiguous()


@dataclass(frozen=True, slots=True)
class TrainingRender:
    """What training rays see; R of the N rays were marched.

    Args:
        num_rays: R: the first rays, as many as the bound on samples allows.
        samples: Packed samples.
        weights: (M,) weights of samples.
        opacity: (R,) sums of weights.
        depth: (R,) sums of weight times distance.
        rgb: (R, 3) colors without background, or (R, 0).
        features: (R, D), or (R, 0).
    """

    num_rays: int
    samples: TrainingSamples
    weights: Tensor
    opacity: Tensor
    depth: Tensor
    rgb: Tensor
    features: Tensor


def march_training(
    rays_o: Tensor,
    rays_d: Tensor,
    noise: Tensor,
    bitfield: Tensor,
    march: MarchSettings,
    max_total_samples: int | None,
) -> tuple[int, TrainingSamples]:
    """Place samples on rays; returns how many rays have them and the samples of those.

    Args:
        rays_o: (N, 3) origins.
        rays_d: (N, 3) directions, camera z 1.
        noise: (N,) in [0, 1), moves the first sample.
        bitfield: Occupancy bits.
        march: Grid and steps.
        max_total_samples: Most samples of all rays together.
    """
    # Samples of all rays lie in one array, ray after ray; a row of packed_info says where a ray's
    # begin and how many there are. Where the bound is met, whole rays at the end are left out, so
    # that no ray is composited from a part of its samples.
    half = torch.full((3,), march.scale, device=rays_o.device)
    hits_t = hits_in_cube(rays_o, rays_d, half)
    samples = march_training_rays(
        rays_o, rays_d, hits_t, bitfield, noise, march, max_total_samples=max_total_samples
    )
    num_rays = int(samples.counter[1]) if max_total_samples is not None else len(rays_o)
    return num_rays, samples._replace(packed_info=samples.packed_info[:num_rays])


@torch.no_grad()
def densities_in_sight(field: Field, samples: TrainingSamples) -> Tensor:
    """Return the (M,) densities of samples, 0 behind opaque surfaces, where nothing depends on
    them.

    Densities are asked for in rounds, front to back, of the rays that can still see. All samples
    up to the one at which compositing stops a ray are among them.

    Args:
        field: Gives the densities.
        samples: Packed samples.
    """
    _, first, count = samples.packed_info.unbind(1)
    row = torch.repeat_interleave(count, output_size=len(samples.t_starts))
    place = torch.arange(len(row), device=row.device) - first[row]
    sigmas, thickness = (
        torch.zeros_like(samples.t_starts),
        torch.zeros(len(count), device=row.device),
    )
    # Most rays end at the first surface. So a few samples are asked for at a time, and the rounds
    # grow only for the rays that still see: what lies behind surfaces is never looked up.
    start, end, last = 0, _FIRST_ROUND, int(count.max()) if len(count) else 0
    waiting = torch.nonzero(place < end)[:, 0]
    while start < last:
        sigmas[waiting] = field.density(samples.positions[waiting])[0]
        thickness.index_add_(0, row[waiting], sigmas[waiting] * samples.step_sizes[waiting])
        start, end = end, end + max(_FIRST_ROUND, end // 2)
        sees = thickness < _OPAQUE
        waiting = torch.nonzero(sees[row] & (place >= start) & (place < end))[:, 0]
    return sigmas


def _composite_in_sight(field: Field, samples: TrainingSamples) -> Composite:
    """Return the weights of samples up to where their rays stop, without colors."""
    return composite_training_rays(
        densities_in_sight(field, samples),
        None,
        None,
        samples.step_sizes,
        samples.t_starts,
        samples.packed_info,
        threshold=TEST_THRESHOLD,
    )


@torch.no_grad()
def drop_hidden(field: Field, samples: TrainingSamples) -> TrainingSamples:
    """Leave out the samples behind the one at which their ray stops; they add nothing to any
    result.

    Args:
        field: Gives the densities.
        samples: Packed samples.
    """
    seen = _composite_in_sight(field, samples)
    ray_indices, first, count = samples.packed_info.unbind(1)
    kept = torch.minimum(seen.total_samples[ray_indices] + 1, count)
    place = torch.arange(len(samples.t_starts), device=first.device)
    place = place - torch.repeat_interleave(first, count, output_size=len(place))
    chosen = place < torch.repeat_interleave(kept, count, output_size=len(place))
    starts = torch.cumsum(kept, 0) - kept
    return samples._replace(
        packed_info=torch.stack([ray_indices, starts, kept], dim=1),
        positions=samples.positions[chosen],
        directions=samples.directions[chosen],
        step_sizes=samples.step_sizes[chosen],
        t_starts=samples.t_starts[chosen],
    )


def first_rays(samples: TrainingSamples, max_samples: int) -> tuple[int, TrainingSamples]:
    """Keep the first rays, as many as have no more than ``max_samples`` samples together.

    Args:
        samples: Packed samples, rays in order.
        max_samples: The bound.

    Returns:
        Number of rays kept, and their samples.
    """
    ends = torch.cumsum(samples.packed_info[:, 2], 0)
    num_rays = int((ends <= max_samples).sum())
    num_samples = int(ends[num_rays - 1]) if num_rays else 0
    return num_rays, samples._replace(
        packed_info=samples.packed_info[:num_rays],
        positions=samples.positions[:num_samples],
        directions=samples.directions[:num_samples],
        step_sizes=samples.step_sizes[:num_samples],
        t_starts=samples.t_starts[:num_samples],
    )


def render_color(field: Field, num_rays: int, samples: TrainingSamples) -> TrainingRender:
    """Composite density and color of samples, with gradients to both."""
    sigmas, geometry = field.density(samples.positions)
    rgbs = field.color(geometry, samples.directions)
    out = composite_training_rays(
        sigmas,
        rgbs,
        None,
        samples.step_sizes,
        samples.t_starts,
        samples.packed_info,
        threshold=TEST_THRESHOLD,
    )
    return TrainingRender(
        num_rays, samples, out.weights, out.opacity, out.depth, out.rgb, out.features
    )


def render_features(
    field: Field, num_rays: int, samples: TrainingSamples, *, least_weight: float = 0.0
) -> TrainingRender:
    """Composite features of samples over a frozen geometry, with gradients to the features only.

    Samples that add nothing (behind the end of their ray, or in empty space) are not looked up.

    Args:
        field: The field.
        num_rays: Number of rays.
        samples: Packed samples.
        least_weight: Samples of at most this weight are not looked up either. A rendered feature
            changes by no more than their weights times the largest norm of their features.
    """
    found, seen = _weigh(field, samples, least_weight)
    features = composite_features(field, num_rays, found)
    return TrainingRender(
        num_rays, samples, seen.weights, seen.opacity, seen.depth, seen.rgb, features
    )


@dataclass(frozen=True, slots=True)
class FeatureSamples:
    """The samples that make up the features of rays over a frozen geometry.

    Args:
        ray_indices: (M,) int64, the ray of each.
        positions: (M, 3) positions, scene coordinates.
        weights: (M,) weights.
    """

    ray_indices: Tensor
    positions: Tensor
    weights: Tensor


def find_feature_samples(
    field: Field, samples: TrainingSamples, *, least_weight: float = 0.0
) -> FeatureSamples:
    """Return the samples that make up the features of rays, see ``render_features``."""
    return _weigh(field, samples, least_weight)[0]


def composite_features(field: Field, num_rays: int, samples: FeatureSamples) -> Tensor:
    """Return the (num_rays, D) features of rays, with gradients to the features."""
    weighted = field.features(samples.positions) * samples.weights[:, None]
    features = weighted.new_zeros(num_rays, weighted.shape[1])
    return features.index_add(0, samples.ray_indices, weighted)


@torch.no_grad()
def _weigh(
    field: Field, samples: TrainingSamples, least_weight: float
) -> tuple[FeatureSamples, Composite]:
    seen = _composite_in_sight(field, samples)
    useful = torch.nonzero(seen.weights > least_weight)[:, 0]
    ray_indices = torch.repeat_interleave(
        samples.packed_info[:, 0], samples.packed_info[:, 2], output_size=len(samples.t_starts)
    )
    return FeatureSamples(
        ray_indices[useful], samples.positions[useful], seen.weights[useful]
    ), seen


@dataclass(frozen=True, slots=True)
class RenderedRays:
    """What rays see. Depths and features are sums over weights, not divided by the opacity.

    Args:
        rgb: (N, 3) over the background.
        depth: (N,) along the camera's z axis for camera rays, scene units.
        opacity: (N,).
        features: (N, D), or (N, 0) where none were asked for.
        positions: (N, 3) where the rays end, scene units.
        total_samples: Valid samples that were marched.
    """

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    features: Tensor
    positions: Tensor
    total_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookSettings:
    """How rays are rendered for looking.

    Args:
        march: Grid and steps.
        threshold: Transmittance at which a ray stops.
        max_samples: Most samples per ray.
        background: Color behind everything; None: white for constant steps, else black, as the
            original.
        feature_dim: D, or 0 to leave features out.
        faithful: Keep the original's upper bound of the step (matters for growing steps only).
    """

    march: MarchSettings
    threshold: float = TEST_THRESHOLD
    max_samples: int = 1024
    background: float | None = None
    feature_dim: int = 0
    faithful: bool = True


@torch.no_grad()
def render_rays(
    field: Field, rays_o: Tensor, rays_d: Tensor, bitfield: Tensor, look: LookSettings
) -> RenderedRays:
    """Render rays, in bounded memory whatever their number.

    Args:
        field: The field.
        rays_o: (N, 3) origins, scene coordinates.
        rays_d: (N, 3) directions.
        bitfield: Occupancy bits.
        look: How.
    """
    parts = [
        _render_chunk(field, o, d, bitfield, look)
        for o, d in zip(*(torch.split(r, _RAYS_AT_ONCE) for r in (rays_o, rays_d)), strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return RenderedRays(
        rgb=torch.cat([p.rgb for p in parts]),
        depth=torch.cat([p.depth for p in parts]),
        opacity=torch.cat([p.opacity for p in parts]),
        features=torch.cat([p.features for p in parts]),
        positions=torch.cat([p.positions for p in parts]),
        total_samples=sum(p.total_samples for p in parts),
    )


def _render_chunk(
    field: Field, rays_o: Tensor, rays_d: Tensor, bitfield: Tensor, look: LookSettings
) -> RenderedRays:
    num_rays, device = len(rays_o), rays_o.device
    rays_o, rays_d = rays_o.float().contiguous(), rays_d.float().contiguous()
    hits_t = hits_in_cube(rays_o, rays_d, torch.full((3,), look.march.scale, device=device))
    opacity, depth = torch.zeros(num_rays, device=device), torch.zeros(num_rays, device=device)
    rgb = torch.zeros(num_rays, 3, device=device)
    features = torch.zeros(num_rays, look.feature_dim, device=device)
    alive = torch.arange(num_rays, device=device)
    least = 1 if look.march.step_factor == 0 else _LEAST_SAMPLES_PER_TURN
    marched = total = 0
    while marched < look.max_samples and len(alive):
        count = max(min(num_rays // len(alive), _MOST_SAMPLES_PER_TURN), least)
        marched += count
        found = march_live_rays_(
            *(rays_o, rays_d, hits_t, alive, bitfield, look.march),
            num_samples=count,
            faithful=look.faithful,
        )
        valid = torch.arange(count, device=device) < found.counts[:, None]
        num_valid = int(valid.sum())
        if num_valid == 0:
            break
        total += num_valid
        sigmas, rgbs, feats = _look_up(field, found.positions[valid], found.directions[valid], look)
        composite_live_rays_(
            _spread(sigmas[:, None], valid)[:, :, 0],
            _spread(rgbs, valid),
            _spread(feats, valid),
            found.step_sizes,
            found.t_starts,
            found.counts,
            threshold=look.threshold,
            alive=alive,
            opacity=opacity,
            depth=depth,
            rgb=rgb,
            features=features,
        )
        alive = alive[alive >= 0]
    background = look.background
    if background is None:
        background = 1.0 if look.march.step_factor == 0 else 0.0
    positions = rays_o + rays_d * (depth / opacity.clamp_min(_LEAST_OPACITY))[:, None]
    rgb = rgb + background * (1.0 - opacity[:, None])
    return RenderedRays(rgb, depth, opacity, features, positions, total)


def _look_up(
    field: Field, points: Tensor, directions: Tensor, look: LookSettings
) -> tuple[Tensor, Tensor, Tensor]:
    sigmas, geometry = field.density(points)
    rgbs = field.color(geometry, directions)
    feats = field.features(points) if look.feature_dim else points.new_zeros(len(points), 0)
    return sigmas.float(), rgbs.float(), feats.float()


def _spread(values: Tensor, valid: Tensor) -> Tensor:
    """Put the values of valid samples (m, C) into a zero array (A, n, C)."""
    out = values.new_zeros(*valid.shape, values.shape[1])
    out[valid] = values
    return out
