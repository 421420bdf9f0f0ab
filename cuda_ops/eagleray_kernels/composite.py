"""Volume rendering: compositing samples along rays, front to back.

With `alpha = 1 - exp(-sigma delta)` a sample's weight is alpha times the transmittance in front of
it (NeRF, arXiv 2003.08934, equation 3). The sample that takes the transmittance to the threshold or
below is the last one that counts. Nothing is normalized and no background is added.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError, require_rows, require_shape

define_operator(
    "composite_train(Tensor sigmas, Tensor rgbs, Tensor feats, Tensor step_sizes, Tensor t_starts, "
    "Tensor packed_info, float threshold, bool legacy) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
define_operator(
    "composite_train_backward(Tensor grad_opacity, Tensor grad_depth, Tensor grad_rgb, "
    "Tensor grad_features, Tensor grad_weights, Tensor rgbs, Tensor feats, Tensor step_sizes, "
    "Tensor t_starts, Tensor packed_info, Tensor weights, Tensor total_samples, bool legacy, "
    "bool need_sigmas, bool need_rgbs, bool need_feats) -> (Tensor, Tensor, Tensor)"
)
define_operator(
    "composite_test(Tensor sigmas, Tensor rgbs, Tensor feats, Tensor step_sizes, Tensor t_starts, "
    "Tensor counts, float threshold, Tensor(a!) alive, Tensor(b!) opacity, Tensor(c!) depth, "
    "Tensor(d!) rgb, Tensor(e!) features) -> ()"
)

TRAINING_THRESHOLD = 1e-4
"""Transmittance at which training rays stop (OmniSeg3D)."""


class Composite(NamedTuple):
    """What N rays see; M samples."""

    total_samples: Tensor
    """(N,) int64: samples in front of the one at which the ray stopped, or all."""
    opacity: Tensor
    """(N,) sum of weights."""
    depth: Tensor
    """(N,) sum of weight times distance; not divided by the opacity."""
    rgb: Tensor
    """(N, C) sum of weight times color."""
    features: Tensor
    """(N, F) sum of weight times feature."""
    weights: Tensor
    """(M,) weights; 0 behind the stop."""


def composite_training_rays(
    sigmas: Tensor,
    rgbs: Tensor | None,
    feats: Tensor | None,
    step_sizes: Tensor,
    t_starts: Tensor,
    packed_info: Tensor,
    *,
    threshold: float = TRAINING_THRESHOLD,
    faithful: bool = False,
) -> Composite:
    """Composite packed samples; differentiable in densities, colors and features.

    Args:
        sigmas: (M,) densities, float32 or float64; half precision is computed in float32.
        rgbs: (M, C) colors, or None for none.
        feats: (M, F) features, or None for none.
        step_sizes: (M,) lengths of the samples' intervals.
        t_starts: (M,) distances of the samples.
        packed_info: (N, 3) int64 rows (ray, first sample, number of samples).
        threshold: transmittance at which a ray stops.
        faithful: keep the original's gradient from the features to the densities, whose sum over
            the samples behind a sample runs over all others; False gives the exact derivative. No
            difference where the densities are detached, as they are in OmniSeg3D's second stage.

    Returns:
        The composite, ray by ray, whatever the order of the rows of packed_info.

    Raises:
        KernelInputError: if shapes do not fit.
    """
    require_shape("sigmas", sigmas, ("M",))
    require_shape("packed_info", packed_info, ("N", 3))
    dtype = sigmas.dtype if sigmas.dtype == torch.float64 else torch.float32
    none = sigmas.new_empty(sigmas.shape[0], 0)
    rgbs, feats = none if rgbs is None else rgbs, none if feats is None else feats
    require_shape("rgbs", rgbs, ("M", "C"))
    require_shape("feats", feats, ("M", "F"))
    require_rows(sigmas.shape[0], rgbs=rgbs, feats=feats, step_sizes=step_sizes, t_starts=t_starts)
    values = (sigmas.to(dtype), rgbs.to(dtype), feats.to(dtype))
    places = (step_sizes.detach().to(dtype), t_starts.detach().to(dtype), packed_info)
    source = torch.ops.eagleray if uses_compiled(sigmas.device.type) else twin
    *sums, total_samples = source.composite_train(*values, *places, threshold, faithful)
    return Composite(total_samples, *sums)


def composite_live_rays_(
    sigmas: Tensor,
    rgbs: Tensor,
    feats: Tensor,
    step_sizes: Tensor,
    t_starts: Tensor,
    counts: Tensor,
    *,
    threshold: float,
    alive: Tensor,
    opacity: Tensor,
    depth: Tensor,
    rgb: Tensor,
    features: Tensor,
) -> None:
    """Add the next samples of live rays to what they have gathered, in place.

    Args:
        sigmas: (A, n) densities of the next samples of A live rays.
        rgbs: (A, n, C) colors.
        feats: (A, n, F) features; F may be 0.
        step_sizes: (A, n) lengths of intervals.
        t_starts: (A, n) distances.
        counts: (A,) int32: samples of each ray that are valid.
        threshold: transmittance at which a ray stops.
        alive: (A,) int64 ray indices; set to -1 for rays that stop or have no sample left.
        opacity: (N,) float32, updated.
        depth: (N,) float32, updated.
        rgb: (N, C) float32, updated.
        features: (N, F) float32, updated.

    Raises:
        KernelInputError: if shapes do not fit or an updated tensor is not contiguous float32.
    """
    require_shape("sigmas", sigmas, ("A", "n"))
    num_alive, num_samples = sigmas.shape
    require_shape("rgbs", rgbs, (num_alive, num_samples, "C"))
    require_shape("feats", feats, (num_alive, num_samples, "F"))
    require_shape("rgb", rgb, (opacity.shape[0], rgbs.shape[2]))
    require_shape("features", features, (opacity.shape[0], feats.shape[2]))
    require_rows(num_alive, step_sizes=step_sizes, t_starts=t_starts, counts=counts, alive=alive)
    for name, tensor in (
        ("opacity", opacity),
        ("depth", depth),
        ("rgb", rgb),
        ("features", features),
    ):
        if tensor.dtype != torch.float32 or not tensor.is_contiguous():
            message = f"{name} is updated in place: contiguous float32, found {tensor.dtype}"
            raise KernelInputError(message)
    samples = [tensor.detach().float() for tensor in (sigmas, rgbs, feats, step_sizes, t_starts)]
    source = torch.ops.eagleray if uses_compiled(sigmas.device.type) else twin
    source.composite_test(*samples, counts, threshold, alive, opacity, depth, rgb, features)


@torch.library.register_fake("eagleray::composite_train", lib=LIBRARY)
def _composite_train_fake(
    sigmas: Tensor,
    rgbs: Tensor,
    feats: Tensor,
    step_sizes: Tensor,
    t_starts: Tensor,
    packed_info: Tensor,
    threshold: float,
    legacy: bool,
) -> tuple[Tensor, ...]:
    num_rays = packed_info.shape[0]
    return (
        sigmas.new_empty(num_rays),
        sigmas.new_empty(num_rays),
        sigmas.new_empty(num_rays, rgbs.shape[1]),
        sigmas.new_empty(num_rays, feats.shape[1]),
        sigmas.new_empty(sigmas.shape[0]),
        packed_info.new_empty(num_rays),
    )


@torch.library.register_fake("eagleray::composite_train_backward", lib=LIBRARY)
def _composite_train_backward_fake(
    grad_opacity: Tensor,
    grad_depth: Tensor,
    grad_rgb: Tensor,
    grad_features: Tensor,
    grad_weights: Tensor,
    rgbs: Tensor,
    feats: Tensor,
    step_sizes: Tensor,
    t_starts: Tensor,
    packed_info: Tensor,
    weights: Tensor,
    total_samples: Tensor,
    legacy: bool,
    need_sigmas: bool,
    need_rgbs: bool,
    need_feats: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    num_samples = weights.shape[0]
    return (
        weights.new_empty(num_samples if need_sigmas else 0),
        weights.new_empty(num_samples if need_rgbs else 0, rgbs.shape[1]),
        weights.new_empty(num_samples if need_feats else 0, feats.shape[1]),
    )


@torch.library.register_fake("eagleray::composite_test", lib=LIBRARY)
def _composite_test_fake(*arguments: Any) -> None:
    return None


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, rgbs, feats, step_sizes, t_starts, packed_info, _, legacy = inputs
    *_, weights, total_samples = output
    ctx.mark_non_differentiable(total_samples)
    ctx.legacy = legacy
    ctx.save_for_backward(rgbs, feats, step_sizes, t_starts, packed_info, weights, total_samples)


def _backward(
    ctx: Any,
    grad_opacity: Tensor,
    grad_depth: Tensor,
    grad_rgb: Tensor,
    grad_features: Tensor,
    grad_weights: Tensor,
    grad_total: Tensor | None,
) -> tuple[Tensor | None, ...]:
    needed = ctx.needs_input_grad[:3]
    grads = torch.ops.eagleray.composite_train_backward(
        grad_opacity,
        grad_depth,
        grad_rgb,
        grad_features,
        grad_weights,
        *ctx.saved_tensors,
        ctx.legacy,
        *needed,
    )
    kept = [grad if need else None for grad, need in zip(grads, needed, strict=True)]
    return (*kept, None, None, None, None, None)


torch.library.register_autograd(
    "eagleray::composite_train", _backward, setup_context=_save, lib=LIBRARY
)
