"""UPerNet-style semantic head: pyramid pooling on top, a feature pyramid below, all levels fused.

Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, section 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.heads.initialization import init_semantic_head
from eagleray_vision.heads.pooled_context import PyramidPooling
from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm


class UperNetHead(nn.Module):
    """The coarsest level with its pooled context flows down; all levels are fused and classified.

    Args:
        in_channels: Channels of the levels.
        num_levels: Number of levels.
        num_classes: Classes.
        norm: Normalization and activation.
        hidden_channels: Channels of every part (the paper: 512).
        bins: Grids of the pyramid pooling, parts along each side.
    """

    def __init__(
        self,
        in_channels: int,
        num_levels: int,
        num_classes: int,
        norm: NormSpec,
        *,
        hidden_channels: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
    ) -> None:
        super().__init__()
        width = hidden_channels
        self.context = PyramidPooling(in_channels, width, bins, norm)
        self.lateral = nn.ModuleList(
            ConvNorm(in_channels, width, 1, norm) for _ in range(num_levels - 1)
        )
        self.output = nn.ModuleList(ConvNorm(width, width, 3, norm) for _ in range(num_levels - 1))
        self.fuse = ConvNorm(num_levels * width, width, 3, norm)
        self.conv_sem = nn.Conv2d(width, num_classes, 1)
        init_semantic_head(self, self.conv_sem, norm)

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing."""
        return [self.context, *self.output, self.fuse]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels ``(n, c, h_i, w_i)``, finest first, to logits ``(n, classes, h_0, w_0)``."""
        size = levels[0].shape[2:]
        current = self.context(levels[-1])
        outputs = [current]
        for x, lateral, output in zip(
            reversed(levels[:-1]), reversed(self.lateral), reversed(self.output), strict=True
        ):
            current = lateral(x) + _resized(current, x.shape[2:])
            outputs.append(output(current))
        resized = [_resized(y, size) for y in reversed(outputs)]
        return self.conv_sem(self.fuse(torch.cat(resized, dim=1)))  # type: ignore[no-any-return]


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if x.shape[2:] == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
