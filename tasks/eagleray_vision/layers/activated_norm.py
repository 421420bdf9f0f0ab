"""Normalization followed by an activation, as one layer ("ABN"), in all the variants of 2019.

The in-place activated batch norm (Rota Bulò et al., "In-Place Activated BatchNorm", CVPR 2018) of
the published networks computes

    y = act((|w| + eps) * (x - mean) / sqrt(var + eps) + b)

The scale is |w| + eps and not w, since the layer had to be invertible. The raw w is kept here, so
that importing weights is a copy. The in-place trick itself saved memory and changed no number.

Statistics may be shared by all workers on CPUs and GPUs; torch's own synchronized layer refuses
CPU tensors. Workers count by their number of values, and a worker without any may take part.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

Activation = Literal["leaky_relu", "elu", "relu", "identity"]
NormKind = Literal["batch", "synced_batch", "group", "frozen"]


def activate(x: Tensor, activation: Activation, slope: float) -> Tensor:
    """Apply an activation in place (``slope``: negative slope of leaky_relu, alpha of elu)."""
    if activation == "leaky_relu":
        return F.leaky_relu(x, slope, inplace=True)
    if activation == "elu":
        return F.elu(x, slope, inplace=True)
    return F.relu(x, inplace=True) if activation == "relu" else x


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Reshape ``(c,)`` so that it broadcasts against ``(n, c, ...)``."""
    return values.view(1, -1, *[1] * (x.ndim - 2))


def _sum_over_workers(values: Tensor, *, sync: bool) -> Tensor:
    if sync:
        distributed.all_reduce(values)
    return values


def _joint_statistics(x: Tensor, *, sync: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased variance and count per channel over the workers, weighted by count.

    Each worker writes its own row of a table that is then summed, which gathers with the one
    collective that every backend has for every device; the rows are merged without cancellation
    (Chan et al., 1979).
    """
    dims = [0, *range(2, x.ndim)]
    count = x.numel() // x.shape[1]
    workers = distributed.get_world_size() if sync else 1
    table = x.new_zeros(workers, 2 * x.shape[1] + 1)
    row = table[distributed.get_rank() if sync else 0]
    if count:
        var, mean = torch.var_mean(x, dims, correction=0)
        row.copy_(torch.cat([mean, var * count, mean.new_full((1,), float(count))]))
    _sum_over_workers(table, sync=sync)
    means, squares, counts = torch.split(table, [x.shape[1], x.shape[1], 1], dim=1)
    total = counts.sum()
    some = total.clamp(min=1)
    mean = (means * counts).sum(0) / some
    var = (squares + counts * (means - mean) ** 2).sum(0) / some
    return mean, var, total


class _JointBatchNorm(torch.autograd.Function):
    """Batch norm whose statistics, and their gradients, are summed over workers.

    Gradients of scale and bias are those of this worker's values alone, since gradients of
    parameters are averaged over workers anyway.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, bias: Tensor, eps: float, sync: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.to(scale.dtype)
        mean, var, total = _joint_statistics(wide, sync=sync)
        inverse_std = (var + eps).rsqrt()
        normalized = (wide - _per_channel(mean, x)) * _per_channel(inverse_std * scale, x)
        ctx.save_for_backward(x, scale, mean, inverse_std, total)
        ctx.sync = sync
        ctx.mark_non_differentiable(mean, var, total)
        return (normalized + _per_channel(bias, x)).to(x.dtype), mean, var, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, mean, inverse_std, total = ctx.saved_tensors
        wide = grad.to(scale.dtype)
        standard = (x.to(scale.dtype) - _per_channel(mean, x)) * _per_channel(inverse_std, x)
        dims = [0, *range(2, x.ndim)]
        grad_bias, grad_scale = wide.sum(dims), (wide * standard).sum(dims)
        sums = _sum_over_workers(torch.stack([grad_bias, grad_scale]), sync=ctx.sync)
        mean_grad, mean_projection = sums / total.clamp(min=1)
        centered = wide - _per_channel(mean_grad, x) - standard * _per_channel(mean_projection, x)
        grad_x = (centered * _per_channel(scale * inverse_std, x)).to(x.dtype)
        return grad_x, grad_scale, grad_bias, None, None


class ActivatedBatchNorm(nn.Module):
    """Batch norm and activation.

    Args:
        num_features: Channels.
        synced: Share the statistics with all workers of the default process group, if there is
            one. All workers must then run the layer equally often, if need be on empty tensors.
        absolute_scale: Scale by |weight| + eps (in-place ABN) instead of by weight.
        frozen: Always use the running statistics and leave them alone.
        eps: Added to the variance, and to |weight|.
        momentum: Share of the batch in the running statistics.
        activation: What follows.
        slope: Negative slope of leaky_relu, or alpha of elu.

    Shape:
        ``(n, c)`` or ``(n, c, h, w)``, n may be 0; half types are computed in float32.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        synced: bool = False,
        absolute_scale: bool = True,
        frozen: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        activation: Activation = "leaky_relu",
        slope: float = 0.01,
    ) -> None:
        super().__init__()
        self.synced, self.absolute_scale, self.frozen = synced, absolute_scale, frozen
        self.eps, self.momentum = eps, momentum
        self.activation: Activation = activation
        self.slope = slope
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def scale(self) -> Tensor:
        """Return the factor of the normalized values; d|w|/dw is 1 at w = 0."""
        if not self.absolute_scale:
            return self.weight
        return torch.where(self.weight < 0, -self.weight, self.weight) + self.eps

    @property
    def uses_running_statistics(self) -> bool:
        """Whether the layer is a fixed affine map at present."""
        return self.frozen or not self.training

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return factor and offset per channel that the running statistics amount to."""
        factor = self.scale() * (self.running_var + self.eps).rsqrt()
        return factor, self.bias - self.running_mean * factor

    def forward(self, x: Tensor) -> Tensor:
        """Normalize and activate ``(n, c)`` or ``(n, c, h, w)``."""
        if self.uses_running_statistics:
            y = F.batch_norm(
                x, self.running_mean, self.running_var, self.scale(), self.bias, eps=self.eps
            )
        else:
            y = self._normalize_batch(x)
        return activate(y, self.activation, self.slope)

    def _normalize_batch(self, x: Tensor) -> Tensor:
        sync = self.synced and distributed.is_initialized() and distributed.get_world_size() > 1
        if not sync and x.numel() > x.shape[1]:
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.scale(),
                self.bias,
                training=True,
                momentum=self.momentum,
                eps=self.eps,
            )
        y, mean, var, total = _JointBatchNorm.apply(x, self.scale(), self.bias, self.eps, sync)
        with torch.no_grad():
            share = (total > 0).to(mean.dtype) * self.momentum
            unbiased = var * (total / (total - 1).clamp(min=1))
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(unbiased, share)
        return y

    def extra_repr(self) -> str:
        """Describe the layer."""
        scale = "|weight| + eps" if self.absolute_scale else "weight"
        return (
            f"{self.weight.shape[0]}, scale={scale}, synced={self.synced}, frozen={self.frozen}, "
            f"eps={self.eps}, activation={self.activation}({self.slope})"
        )


class ActivatedGroupNorm(nn.Module):
    """Group norm (Wu & He, ECCV 2018) and activation, scaled by the plain weight.

    Args:
        num_features: Channels, a multiple of ``groups``.
        groups: Channel groups.
        eps: Added to the variance.
        activation: What follows.
        slope: Negative slope of leaky_relu, or alpha of elu.

    Raises:
        ValueError: If the channels cannot be divided into the groups.
    """

    def __init__(
        self,
        num_features: int,
        *,
        groups: int = 16,
        eps: float = 1e-5,
        activation: Activation = "leaky_relu",
        slope: float = 0.01,
    ) -> None:
        super().__init__()
        if num_features % groups:
            raise ValueError(
                f"group norm with {groups} groups needs a multiple of {groups} channels, found "
                f"{num_features}: choose a number of groups that divides it"
            )
        self.groups, self.eps = groups, eps
        self.activation: Activation = activation
        self.slope = slope
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize and activate ``(n, c)`` or ``(n, c, h, w)``."""
        y = F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        return activate(y, self.activation, self.slope)


ActivatedNorm = ActivatedBatchNorm | ActivatedGroupNorm


@dataclass(frozen=True, slots=True)
class NormSpec:
    """Which normalization and activation a part of a network uses.

    Args:
        kind: ``batch``, ``synced_batch``, ``group``, or ``frozen`` (running statistics and plain
            scale).
        activation: What follows each normalization.
        slope: Negative slope of leaky_relu, or alpha of elu.
        groups: Channel groups of ``group``.
        eps: Added to the variance (and to |weight|).
        momentum: Share of the batch in the running statistics.
        absolute_scale: Batch kinds scale by |weight| + eps (in-place ABN) instead of by weight.
    """

    kind: NormKind = "synced_batch"
    activation: Activation = "leaky_relu"
    slope: float = 0.01
    groups: int = 16
    eps: float = 1e-5
    momentum: float = 0.1
    absolute_scale: bool = True

    def build(self, num_features: int, *, activated: bool = True) -> ActivatedNorm:
        """Return a layer for ``num_features`` channels, with the identity if not ``activated``."""
        activation: Activation = self.activation if activated else "identity"
        if self.kind == "group":
            return ActivatedGroupNorm(
                num_features,
                groups=self.groups,
                eps=self.eps,
                activation=activation,
                slope=self.slope,
            )
        return ActivatedBatchNorm(
            num_features,
            synced=self.kind == "synced_batch",
            absolute_scale=self.absolute_scale and self.kind != "frozen",
            frozen=self.kind == "frozen",
            eps=self.eps,
            momentum=self.momentum,
            activation=activation,
            slope=self.slope,
        )
