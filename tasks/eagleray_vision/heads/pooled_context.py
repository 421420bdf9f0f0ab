"""Blocks that see far around a pixel: pooled context, ASPP and pyramid pooling.

The pooled branches have a bias and an activation but no normalization: with one image per worker
the statistics of a batch norm over a pooled map would be those of a single value.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec, activate
from eagleray_vision.layers.conv_norm import ConvNorm


class PooledContext(nn.Module):
    """Averages over a coarse grid of equal parts, projected and enlarged to the map again.

    Args:
        in_channels: Channels of the map.
        out_channels: Channels of the result.
        bins: Parts along each side; 1 averages over the whole map.
        norm: Gives the activation.
    """

    def __init__(self, in_channels: int, out_channels: int, bins: int, norm: NormSpec) -> None:
        super().__init__()
        self.bins, self.activation, self.slope = bins, norm.activation, norm.slope
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h, w)``."""
        pooled = self.conv(F.adaptive_avg_pool2d(x, self.bins))
        pooled = activate(pooled, self.activation, self.slope)
        return F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=False)


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., "Rethinking Atrous Convolution", 2017, 3.3).

    A 1 x 1 convolution, a dilated 3 x 3 convolution per rate and the average over the whole map,
    joined and reduced by a 1 x 1 convolution.

    Args:
        in_channels: Channels of the map.
        out_channels: Channels of every branch and of the result.
        rates: Dilations in cells; the paper's at stride 16 are 6, 12 and 18.
        norm: Normalization and activation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, rates: Sequence[int], norm: NormSpec
    ) -> None:
        super().__init__()
        self.point = ConvNorm(in_channels, out_channels, 1, norm)
        self.dilated = nn.ModuleList(
            ConvNorm(in_channels, out_channels, 3, norm, dilation=rate) for rate in rates
        )
        self.image = PooledContext(in_channels, out_channels, 1, norm)
        self.project = ConvNorm((len(rates) + 2) * out_channels, out_channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h, w)``."""
        branches = [self.point(x), *(branch(x) for branch in self.dilated), self.image(x)]
        return self.project(torch.cat(branches, dim=1))  # type: ignore[no-any-return]


class PyramidPooling(nn.Module):
    """Pyramid pooling (Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.2).

    The map and its averages over grids of several sizes, joined and reduced by a 3 x 3 convolution.

    Args:
        in_channels: Channels of the map.
        out_channels: Channels of every branch and of the result.
        bins: Parts along each side of every grid; the paper's are 1, 2, 3 and 6.
        norm: Normalization and activation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, bins: Sequence[int], norm: NormSpec
    ) -> None:
        super().__init__()
        self.grids = nn.ModuleList(
            PooledContext(in_channels, out_channels, count, norm) for count in bins
        )
        self.project = ConvNorm(in_channels + len(bins) * out_channels, out_channels, 3, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h, w)``."""
        return self.project(  # type: ignore[no-any-return]
            torch.cat([x, *(grid(x) for grid in self.grids)], dim=1)
        )
