"""Semantic head of EfficientPS (Mohan & Valada, IJCV 2021, section 3.2).

Coarse levels pass a dense prediction cell (DPC; Chen et al., NeurIPS 2018), fine ones a large-scale
feature extractor (LSFE); mismatch correction modules (MC) carry coarse features into fine levels.
Each of the three can be switched off for ablations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm
from eagleray_vision.layers.folding import add_to
from eagleray_vision.layers.separable import SeparableConvNorm

_ROOT_DILATION = (1, 6)
_BRANCH_DILATIONS = ((1, 1), (6, 21), (18, 15))
_CHAINED_DILATION = (6, 3)
"""Dilations (rows, columns) of the cell that was found by search (DPC, figure 5)."""


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize bilinearly without corner alignment."""
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class DensePredictionCell(nn.Module):
    """Five separable convolutions of different dilation, joined and reduced.

    The first one feeds three others, the last of which feeds the fifth.

    Args:
        in_channels: Channels of the level and of each branch.
        out_channels: Channels of the result.
        norm: Normalization and activation.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: NormSpec) -> None:
        super().__init__()

        def branch(dilation: tuple[int, int]) -> SeparableConvNorm:
            return SeparableConvNorm(in_channels, in_channels, norm, dilation=dilation)

        self.root = branch(_ROOT_DILATION)
        self.branches = nn.ModuleList(branch(dilation) for dilation in _BRANCH_DILATIONS)
        self.chained = branch(_CHAINED_DILATION)
        num_joined = 2 + len(_BRANCH_DILATIONS)
        self.merge = ConvNorm(num_joined * in_channels, out_channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h, w)``."""
        root = self.root(x)
        parts = [root, *(branch(root) for branch in self.branches)]
        y: Tensor = self.merge(torch.cat([*parts, self.chained(parts[-1])], dim=1))
        return y


def large_scale_features(in_channels: int, out_channels: int, norm: NormSpec) -> nn.Sequential:
    """Return an LSFE: two separable convolutions, the first one reducing the channels."""
    return nn.Sequential(
        SeparableConvNorm(in_channels, out_channels, norm),
        SeparableConvNorm(out_channels, out_channels, norm),
    )


class SemanticHead(nn.Module):
    """Logits of all classes from the four levels of the pyramid.

    Args:
        in_channels: Channels of the levels.
        channels: Channels that each level is reduced to.
        num_classes: Classes.
        norm: Normalization and activation.
        dpc: Dense prediction cells at the two coarse levels; else what the fine ones have.
        lsfe: Large-scale feature extractors at the two fine levels; else 1 x 1 convolutions.
        mismatch_correction: Add coarser levels to finer ones.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        norm: NormSpec,
        *,
        dpc: bool = True,
        lsfe: bool = True,
        mismatch_correction: bool = True,
    ) -> None:
        super().__init__()

        def fine() -> nn.Module:
            if lsfe:
                return large_scale_features(in_channels, channels, norm)
            return ConvNorm(in_channels, channels, 1, norm)

        def coarse() -> nn.Module:
            return DensePredictionCell(in_channels, channels, norm) if dpc else fine()

        self.coarse = nn.ModuleList([coarse(), coarse()])
        self.fine = nn.ModuleList([fine(), fine()])
        self.correct = (
            nn.ModuleList(large_scale_features(channels, channels, norm) for _ in range(2))
            if mismatch_correction
            else None
        )
        self.logits = nn.Conv2d(4 * channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.logits.bias is not None:
            nn.init.zeros_(self.logits.bias)

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing."""
        return [*self.coarse, *self.fine]

    def level_features(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of every level that are joined, finest first.

        Args:
            levels: ``(n, in, h_i, w_i)`` at strides 4, 8, 16, 32.

        Returns:
            ``(n, channels, h_i, w_i)`` per level.
        """
        d32, d16 = self.coarse[0](levels[3]), self.coarse[1](levels[2])
        l8, l4 = self.fine[0](levels[1]), self.fine[1](levels[0])
        if self.correct is not None:
            joined = d16 + enlarge(d32, d16.shape[2:])
            l8 = add_to(l8, self._corrected(self.correct[0], joined, l8))
            l4 = add_to(l4, self._corrected(self.correct[1], l8, l4))
        return [l4, l8, d16, d32]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels at strides 4, 8, 16, 32 to logits ``(n, classes, h_0, w_0)`` at stride 4.

        The paper enlarges the features of all levels, joins them and maps them to logits. Enlarging
        and a 1 x 1 convolution can change places, so that logits are enlarged instead, which are
        fewer; the sum is the same up to rounding.
        """
        features = self.level_features(levels)
        parts = torch.split(self.logits.weight, [x.shape[1] for x in features], dim=1)
        logits = F.conv2d(features[0], parts[0], self.logits.bias)
        for x, part in zip(features[1:], parts[1:], strict=True):
            logits = add_to(logits, enlarge(F.conv2d(x, part), logits.shape[2:]))
        return logits

    @staticmethod
    def _corrected(correct: nn.Module, coarse: Tensor, like: Tensor) -> Tensor:
        """Correct a coarse map, double its size, and bring it to that of a finer one.

        The second resizing is the identity where sizes halve exactly.
        """
        y: Tensor = correct(coarse)
        doubled = enlarge(y, (2 * y.shape[2], 2 * y.shape[3]))
        return doubled if doubled.shape[2:] == like.shape[2:] else enlarge(doubled, like.shape[2:])
