"""Volume rendering with flat prefix sums."""

import torch
from torch import Tensor

from eagleray_kernels.twin.segments import Segments, read_segments


def composite_train(
    sigmas: Tensor,
    rgbs: Tensor,
    feats: Tensor,
    deltas: Tensor,
    ts: Tensor,
    rays_a: Tensor,
    threshold: float,
    legacy: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Twin of `torch.ops.eagleray.composite_train`."""
    num_samples = sigmas.shape[0]
    segments = read_segments(rays_a, num_samples)
    thickness = segments.take(sigmas * deltas)
    thickness_through = segments.prefix_sums(thickness)
    before = (-(thickness_through - thickness)).exp().to(sigmas.dtype)
    behind = (-thickness_through).exp().to(sigmas.dtype)
    # Rounding leaves the first `before` a hair off 1; it always counts, whatever the threshold.
    is_first = torch.arange(len(before), device=before.device) == segments.firsts[segments.row]
    counts = is_first | (before > threshold)
    ws = torch.where(counts, (1.0 - (-thickness).exp()) * before, 0.0)

    features = segments.take(feats)
    if legacy:
        feat = segments.sums(ws.detach()[:, None] * features)
        slope = _legacy_slope(segments, feat, ws, features, segments.take(deltas), behind, counts)
        carrier = segments.sums(segments.take(sigmas)[:, None] * slope)
        feat = feat + carrier - carrier.detach()  # the value stays, the derivative is the slope
    else:
        feat = segments.sums(ws[:, None] * features)
    ahead_of_stop = counts & (behind > threshold)
    return (
        segments.sums(ws),
        segments.sums(ws * segments.take(ts)),
        segments.sums(ws[:, None] * segments.take(rgbs)),
        feat,
        segments.put_back(ws, num_samples),
        segments.sums(ahead_of_stop.to(sigmas.dtype)).round().long(),
    )


@torch.no_grad()
def _legacy_slope(
    segments: Segments,
    feat: Tensor,
    ws: Tensor,
    features: Tensor,
    deltas: Tensor,
    behind: Tensor,
    counts: Tensor,
) -> Tensor:
    """(K, F) derivative of a ray's features by its densities as the published kernel has it.

    The sum over the samples behind a sample runs over all samples of the ray but that one.
    """
    others = feat[segments.ray_of_row[segments.row]] - ws[:, None] * features
    slope = deltas[:, None] * (behind[:, None] * features - others)
    return torch.where(counts[:, None], slope, 0.0)


def composite_test(
    sigmas: Tensor,
    rgbs: Tensor,
    feats: Tensor,
    deltas: Tensor,
    ts: Tensor,
    counts: Tensor,
    threshold: float,
    alive: Tensor,
    opacity: Tensor,
    depth: Tensor,
    rgb: Tensor,
    feat: Tensor,
) -> None:
    """Twin of `torch.ops.eagleray.composite_test`: one sample of every ray at a time."""
    rays = alive.clone()
    goes_on = (rays >= 0) & (counts > 0)
    alive[~goes_on] = -1
    transmittance = 1.0 - opacity[rays]
    for sample in range(sigmas.shape[1]):
        goes_on &= counts > sample
        rows = goes_on.nonzero()[:, 0]
        alpha = 1.0 - (-sigmas[rows, sample] * deltas[rows, sample]).exp()
        weight = alpha * transmittance[rows]
        opacity[rays[rows]] += weight
        depth[rays[rows]] += weight * ts[rows, sample]
        rgb[rays[rows]] += weight[:, None] * rgbs[rows, sample]
        feat[rays[rows]] += weight[:, None] * feats[rows, sample]
        transmittance[rows] *= 1.0 - alpha
        stops = rows[transmittance[rows] <= threshold]
        alive[stops] = -1
        goes_on[stops] = False
