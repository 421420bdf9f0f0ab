"""Distortion loss: how spread out the weights along a ray are (mip-NeRF 360, arXiv 2111.12077)."""

from typing import Any

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import require_rows, require_shape

define_operator(
    "distortion(Tensor weights, Tensor step_sizes, Tensor t_starts, Tensor packed_info) -> Tensor"
)
define_operator(
    "distortion_backward(Tensor grad_loss, Tensor weights, Tensor step_sizes, Tensor t_starts, "
    "Tensor packed_info) -> Tensor"
)


def distortion_loss(
    weights: Tensor, step_sizes: Tensor, t_starts: Tensor, packed_info: Tensor
) -> Tensor:
    """Compute the distortion loss of each ray (equation 15 there, in linear time).

    The loss is the sum over pairs of samples of `w_i w_j |t_i - t_j|` plus a third of the sum of
    `w_i^2 delta_i`. Only the weights get a gradient.

    Args:
        weights: (M,) float32 or float64 weights of samples, in front-to-back order per ray.
        step_sizes: (M,) lengths of the samples' intervals.
        t_starts: (M,) distances of the samples.
        packed_info: (N, 3) int64 rows (ray, first sample, number of samples).

    Returns:
        (N,) loss by ray; 0 for a ray without samples.

    Raises:
        KernelInputError: if shapes do not fit.
    """
    require_shape("weights", weights, ("M",))
    require_shape("packed_info", packed_info, ("N", 3))
    require_rows(weights.shape[0], step_sizes=step_sizes, t_starts=t_starts)
    step_sizes, t_starts = (
        step_sizes.detach().to(weights.dtype),
        t_starts.detach().to(weights.dtype),
    )
    if uses_compiled(weights.device.type):
        return torch.ops.eagleray.distortion(weights, step_sizes, t_starts, packed_info)
    return twin.distortion(weights, step_sizes, t_starts, packed_info)


@torch.library.register_fake("eagleray::distortion", lib=LIBRARY)
def _distortion_fake(
    weights: Tensor, step_sizes: Tensor, t_starts: Tensor, packed_info: Tensor
) -> Tensor:
    return weights.new_empty(packed_info.shape[0])


@torch.library.register_fake("eagleray::distortion_backward", lib=LIBRARY)
def _distortion_backward_fake(
    grad_loss: Tensor, weights: Tensor, step_sizes: Tensor, t_starts: Tensor, packed_info: Tensor
) -> Tensor:
    return torch.empty_like(weights)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
    grad = torch.ops.eagleray.distortion_backward(grad_loss, *ctx.saved_tensors)
    return grad, None, None, None


torch.library.register_autograd("eagleray::distortion", _backward, setup_context=_save, lib=LIBRARY)
