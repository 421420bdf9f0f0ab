"""Distortion loss: how spread out the weights along a ray are (mip-NeRF 360, arXiv 2111.12077)."""

from typing import Any

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import require_rows, require_shape

define_operator("distortion(Tensor ws, Tensor deltas, Tensor ts, Tensor rays_a) -> Tensor")
define_operator(
    "distortion_backward(Tensor grad_loss, Tensor ws, Tensor deltas, Tensor ts, Tensor rays_a)"
    " -> Tensor"
)


def distortion_loss(ws: Tensor, deltas: Tensor, ts: Tensor, rays_a: Tensor) -> Tensor:
    """Compute the distortion loss of each ray (equation 15 there, in linear time).

    The loss is the sum over pairs of samples of `w_i w_j |t_i - t_j|` plus a third of the sum of
    `w_i^2 delta_i`. Only the weights get a gradient.

    Args:
        ws: (M,) float32 or float64 weights of samples, in front-to-back order per ray.
        deltas: (M,) lengths of the samples' intervals.
        ts: (M,) distances of the samples.
        rays_a: (N, 3) int64 rows (ray, first sample, number of samples).

    Returns:
        (N,) loss by ray; 0 for a ray without samples.

    Raises:
        KernelInputError: if shapes do not fit.
    """
    require_shape("ws", ws, ("M",))
    require_shape("rays_a", rays_a, ("N", 3))
    require_rows(ws.shape[0], deltas=deltas, ts=ts)
    deltas, ts = deltas.detach().to(ws.dtype), ts.detach().to(ws.dtype)
    if uses_compiled(ws.device.type):
        return torch.ops.eagleray.distortion(ws, deltas, ts, rays_a)
    return twin.distortion(ws, deltas, ts, rays_a)


@torch.library.register_fake("eagleray::distortion", lib=LIBRARY)
def _distortion_fake(ws: Tensor, deltas: Tensor, ts: Tensor, rays_a: Tensor) -> Tensor:
    return ws.new_empty(rays_a.shape[0])


@torch.library.register_fake("eagleray::distortion_backward", lib=LIBRARY)
def _distortion_backward_fake(
    grad_loss: Tensor, ws: Tensor, deltas: Tensor, ts: Tensor, rays_a: Tensor
) -> Tensor:
    return torch.empty_like(ws)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
    grad = torch.ops.eagleray.distortion_backward(grad_loss, *ctx.saved_tensors)
    return grad, None, None, None


torch.library.register_autograd("eagleray::distortion", _backward, setup_context=_save, lib=LIBRARY)
