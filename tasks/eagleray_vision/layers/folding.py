"""A layer and its normalization, as one layer where nothing is trained."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import ActivatedBatchNorm, activate


def norm_after(
    layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, norm: nn.Module, x: Tensor
) -> Tensor:
    """Compute ``norm(layer(x))``, as one layer where the norm is a fixed affine map.

    Without gradients, the factor of a batch norm in inference moves into the layer's weight, which
    saves a pass over the output and equals the two steps up to rounding.
    """
    if (
        torch.is_grad_enabled()
        or not isinstance(norm, ActivatedBatchNorm)
        or not norm.uses_running_statistics
    ):
        return norm(layer(x))  # type: ignore[no-any-return]
    factor, offset = norm.affine()
    if layer.bias is not None:
        offset = offset + layer.bias * factor
    y = _apply_with(layer, factor, offset, x)
    return activate(y, norm.activation, norm.slope)


def add_to(y: Tensor, x: Tensor) -> Tensor:
    """Return ``y + x``, written over ``y`` where nothing is differentiated: large maps are slow to
    make. Nobody else may need ``y``.
    """
    return y + x if torch.is_grad_enabled() else y.add_(x)


def _apply_with(
    layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, factor: Tensor, offset: Tensor, x: Tensor
) -> Tensor:
    """Apply a layer with its output channels scaled by ``factor`` and shifted to ``offset``."""
    if isinstance(layer, nn.Linear):
        return torch.addcmul(offset, F.linear(x, layer.weight), factor)
    if isinstance(layer, nn.ConvTranspose2d):
        return F.conv_transpose2d(
            x,
            layer.weight * factor.view(1, -1, 1, 1),
            offset,
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.output_padding,
            layer.groups,
            layer.dilation,
        )
    # what the layer does with a weight, its own kind of padding included
    return layer._conv_forward(x, layer.weight * factor.view(-1, 1, 1, 1), offset)
