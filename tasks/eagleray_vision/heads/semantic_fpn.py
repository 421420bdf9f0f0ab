"""Semantic head of Panoptic FPN (Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019).

Every level climbs to the finest one in stages of convolution, normalization, activation and
upsampling; the levels are then added (section 3.1 and figure 3 of the paper).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.heads.initialization import init_semantic_head
from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm


class Climb(nn.ModuleList):
    """Stages of one level: as many as the level lies above the finest one, and at least one.

    Args:
        in_channels: Channels of the level.
        out_channels: Channels of every stage.
        level: Position of the level, 0 = finest.
        norm: Normalization and activation.
    """

    def __init__(self, in_channels: int, out_channels: int, level: int, norm: NormSpec) -> None:
        widths = [in_channels, *[out_channels] * max(level - 1, 0)]
        super().__init__(ConvNorm(width, out_channels, 3, norm) for width in widths)

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, *sizes[-1])`` by way of all the sizes in turn."""
        for index, stage in enumerate(self):
            x = stage(x)
            if index < len(sizes):
                x = F.interpolate(x, sizes[index], mode="bilinear", align_corners=False)
        return x


class SemanticFpnHead(nn.Module):
    """Sum of all levels at the finest one, classified.

    Sizes need not halve: a stage enlarges to the size of the next finer level.

    Args:
        in_channels: Channels of the levels.
        num_levels: Number of levels.
        num_classes: Classes.
        norm: Normalization and activation (the paper: group norm and ReLU).
        hidden_channels: Channels of the stages (the paper: 128).
    """

    def __init__(
        self,
        in_channels: int,
        num_levels: int,
        num_classes: int,
        norm: NormSpec,
        *,
        hidden_channels: int = 128,
    ) -> None:
        super().__init__()
        self.climbs = nn.ModuleList(
            Climb(in_channels, hidden_channels, level, norm) for level in range(num_levels)
        )
        self.conv_sem = nn.Conv2d(hidden_channels, num_classes, 1)
        init_semantic_head(self.climbs, self.conv_sem, norm)

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing."""
        return list(self.climbs)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels ``(n, c, h_i, w_i)``, finest first, to logits ``(n, classes, h_0, w_0)``."""
        sizes = [(x.shape[2], x.shape[3]) for x in levels]
        climbed = [
            climb(x, sizes[:level][::-1])
            for level, (climb, x) in enumerate(zip(self.climbs, levels, strict=True))
        ]
        return self.conv_sem(sum(climbed[1:], climbed[0]))  # type: ignore[no-any-return]
