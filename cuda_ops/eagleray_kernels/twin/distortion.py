"""Distortion loss with flat prefix sums."""

from torch import Tensor

from eagleray_kernels.twin.segments import read_segments


def distortion(ws: Tensor, deltas: Tensor, ts: Tensor, rays_a: Tensor) -> Tensor:
    """Twin of `torch.ops.eagleray.distortion`."""
    segments = read_segments(rays_a, ws.shape[0])
    w = segments.take(ws)
    wt = w * segments.take(ts)
    w_sums, wt_sums = segments.prefix_sums(w), segments.prefix_sums(wt)
    between = 2.0 * (wt_sums * (w_sums - w) - w_sums * (wt_sums - wt))
    within = w * w * segments.take(deltas) / 3.0
    return segments.sums((between + within).to(ws.dtype))
