"""Mini-DL: a small DeepLab module per pyramid level (Porzi et al., CVPR 2019, section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.heads.initialization import init_semantic_head
from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.folding import norm_after
from eagleray_vision.layers.window_pool import window_average_pool


class MiniDeepLab(nn.Module):
    """A plain, a dilated and a window-averaged branch, joined and reduced.

    Args:
        in_channels: Channels of the level.
        out_channels: Channels of each branch and of the result.
        norm: Normalization and activation.
        pooling_size: Height and width of the averaging window in cells.
        dilation: Dilation of the second branch.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: NormSpec,
        *,
        pooling_size: tuple[int, int] = (64, 64),
        dilation: int = 6,
    ) -> None:
        super().__init__()
        self.pooling_size = pooling_size
        self.conv1_3x3 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv1_dil = nn.Conv2d(
            in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.conv1_glb = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn1 = norm.build(3 * out_channels)
        self.conv2 = nn.Conv2d(3 * out_channels, out_channels, 1, bias=False)
        self.bn2 = norm.build(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h, w)``."""
        branches = [
            self.conv1_3x3(x),
            self.conv1_dil(x),
            self.conv1_glb(window_average_pool(x, self.pooling_size)),
        ]
        return norm_after(self.conv2, self.bn2, self.bn1(torch.cat(branches, dim=1)))


class MiniDeepLabHead(nn.Module):
    """One Mini-DL module per level, all resized to the finest level and classified.

    Args:
        in_channels: Channels of the levels.
        num_levels: Number of levels.
        num_classes: Classes.
        norm: Normalization and activation.
        hidden_channels: Channels of each level's module.
        pooling_size: Height and width of the averaging window in cells.
        dilation: Dilation of the second branch.
    """

    def __init__(
        self,
        in_channels: int,
        num_levels: int,
        num_classes: int,
        norm: NormSpec,
        *,
        hidden_channels: int = 128,
        pooling_size: tuple[int, int] = (64, 64),
        dilation: int = 6,
    ) -> None:
        super().__init__()
        self.output = nn.ModuleList(
            MiniDeepLab(
                in_channels, hidden_channels, norm, pooling_size=pooling_size, dilation=dilation
            )
            for _ in range(num_levels)
        )
        self.conv_sem = nn.Conv2d(hidden_channels * num_levels, num_classes, 1)
        init_semantic_head(self.output, self.conv_sem, norm)

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing."""
        return list(self.output)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels ``(n, c, h_i, w_i)``, finest first, to logits ``(n, classes, h_0, w_0)``."""
        size = levels[0].shape[2:]
        outputs = [module(x) for module, x in zip(self.output, levels, strict=True)]
        resized = [
            y
            if y.shape[2:] == size
            else F.interpolate(y, size, mode="bilinear", align_corners=False)
            for y in outputs
        ]
        return self.conv_sem(torch.cat(resized, dim=1))  # type: ignore[no-any-return]
