"""The deformable adapter operator (OPS, DAO): DCNv3, weighted by how much a place differs from its
neighborhood, beside the identity.

DCNv3 is that of InternImage (Wang et al., arXiv 2211.05778); its sampling core is
`eagleray_kernels.dcnv3`. Maps are channels-last, ``(B, H, W, C)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_kernels.dcnv3 import dcn_v3
from eagleray_ops.model.config import DaoSettings, PatchAttention

_NORM_EPS = 1e-6
"""Epsilon of the normalization in front of the offsets (DCNv3)."""


class DeformableConvolution(nn.Module):
    """DCNv3 at stride 1.

    Args:
        width: Channels C.
        settings: Kernel, groups, depthwise kernel, offset scale, center scale.
    """

    def __init__(self, width: int, settings: DaoSettings) -> None:
        super().__init__()
        self.settings = settings
        points = settings.groups * settings.kernel**2
        side = settings.depthwise_kernel
        self.values = nn.Linear(width, width)
        self.depthwise = nn.Conv2d(width, width, side, padding=side // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.offsets = nn.Linear(width, 2 * points)
        self.weights = nn.Linear(width, points)
        self.center = nn.Linear(width, settings.groups) if settings.center_scale else None
        self.output = nn.Linear(width, width)
        for layer in (self.offsets, self.weights, self.center):
            if layer is not None:  # the regular grid, its mean, and half of the center
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        for layer in (self.values, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the deformed maps.

        Args:
            maps: ``(B, H, W, C)`` of any floating-point type.

        Returns:
            ``(B, H, W, C)``.
        """
        settings = self.settings
        values = self.values(maps)
        near = self.depthwise(maps.movedim(-1, 1)).movedim(1, -1)
        near = F.gelu(self.norm(near))
        with torch.autocast(maps.device.type, enabled=False):
            # positions need more digits than half precision has
            wide = near if near.dtype == torch.float64 else near.float()
            offsets, logits = self.offsets(wide), self.weights(wide)
            weights = logits.unflatten(-1, (settings.groups, -1)).softmax(-1).flatten(-2)
        deformed = dcn_v3(
            values.contiguous(),
            offsets,
            weights,
            kernel_size=settings.kernel,
            padding=settings.kernel // 2,
            groups=settings.groups,
            offset_scale=settings.offset_scale,
        )
        if self.center is not None:
            share = self.center(near).sigmoid()
            share = share.repeat_interleave(maps.shape[-1] // settings.groups, dim=-1)
            deformed = (1 - share) * deformed + share * values
        return self.output(deformed)


def patch_attention(maps: Tensor, kind: PatchAttention, kernel: int = 3) -> Tensor:
    """Return how much each place stands out of its neighborhood.

    It is the unbiased standard deviation of the place's likeness to each neighbor and itself:
    dot products behind a softmax, or cosines. What lies outside of the map is zero, and so is its
    cosine (the original divides 0 by 0 there).

    Args:
        maps: ``(B, H, W, C)``.
        kind: ``softmax``, ``norm``, or ``off`` for 1 everywhere.
        kernel: Side of the neighborhood, odd.

    Returns:
        ``(B, H, W, 1)``, float32 (float64 where the maps are).
    """
    # dot products of 240 channels without a scale pass the largest half-precision number
    with torch.autocast(maps.device.type, enabled=False):
        wide = maps if maps.dtype == torch.float64 else maps.float()
        if kind == "off":
            return torch.ones_like(wide[..., :1])
        if kind == "norm":
            length = wide.norm(dim=-1, keepdim=True)
            wide = wide / length.masked_fill(length == 0, 1)
        height, width = wide.shape[1:3]
        around = F.pad(wide, (0, 0, kernel // 2, kernel // 2, kernel // 2, kernel // 2))
        likeness = torch.stack(
            [
                (wide * around[:, row : row + height, column : column + width]).sum(-1)
                for row in range(kernel)
                for column in range(kernel)
            ],
            dim=-1,
        )
        if kind == "softmax":
            likeness = likeness.softmax(-1)
        return likeness.std(-1, keepdim=True)


class DeformableAdapter(nn.Module):
    """One DAO block: ``x + sigma(z) z`` with ``z`` the deformed x.

    Args:
        width: Channels C.
        settings: The variant.
    """

    def __init__(self, width: int, settings: DaoSettings) -> None:
        super().__init__()
        self.settings = settings
        self.convolution = DeformableConvolution(width, settings)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the same shape, ``(B, H, W, C)``."""
        deformed = self.convolution(maps)
        settings = self.settings
        salience = patch_attention(deformed, settings.patch_attention, settings.patch_kernel)
        return maps + salience.to(deformed.dtype) * deformed
