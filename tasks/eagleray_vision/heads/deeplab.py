"""DeepLab-style semantic head: ASPP on the coarsest level, refined with the details of the others.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation"
(DeepLabv3+), ECCV 2018, with plain convolutions, on the levels of a feature pyramid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.heads.initialization import init_semantic_head
from eagleray_vision.heads.pooled_context import AtrousPyramid
from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm

DETAIL_CHANNELS = 48
"""Channels to which a finer level is reduced (DeepLabv3+, section 4.1)."""


class DeepLabHead(nn.Module):
    """ASPP of the coarsest level, joined at the finest size with the other levels, reduced.

    Two 3 x 3 convolutions refine what all of them know (DeepLabv3+, section 4.1, which joins one
    level of detail; a pyramid has several).

    Args:
        in_channels: Channels of the levels.
        num_levels: Number of levels.
        num_classes: Classes.
        norm: Normalization and activation.
        hidden_channels: Channels of ASPP and decoder (the paper: 256).
        rates: Dilations of ASPP in cells of the coarsest level.
    """

    def __init__(
        self,
        in_channels: int,
        num_levels: int,
        num_classes: int,
        norm: NormSpec,
        *,
        hidden_channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
    ) -> None:
        super().__init__()
        self.context = AtrousPyramid(in_channels, hidden_channels, rates, norm)
        self.details = nn.ModuleList(
            ConvNorm(in_channels, DETAIL_CHANNELS, 1, norm) for _ in range(num_levels - 1)
        )
        joined = hidden_channels + (num_levels - 1) * DETAIL_CHANNELS
        self.refine = nn.Sequential(
            ConvNorm(joined, hidden_channels, 3, norm),
            ConvNorm(hidden_channels, hidden_channels, 3, norm),
        )
        self.conv_sem = nn.Conv2d(hidden_channels, num_classes, 1)
        init_semantic_head(self, self.conv_sem, norm)

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing."""
        return [self.context, self.refine]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels ``(n, c, h_i, w_i)``, finest first, to logits ``(n, classes, h_0, w_0)``."""
        size = levels[0].shape[2:]
        parts = [self.context(levels[-1])]
        parts += [detail(x) for detail, x in zip(self.details, levels[:-1], strict=True)]
        resized = [
            y
            if y.shape[2:] == size
            else F.interpolate(y, size, mode="bilinear", align_corners=False)
            for y in parts
        ]
        return self.conv_sem(self.refine(torch.cat(resized, dim=1)))  # type: ignore[no-any-return]
