"""Feature pyramid (Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm
from eagleray_vision.layers.initialization import activation_gain, init_xavier


class FeaturePyramid(nn.Module):
    """Top-down pyramid with normalized and activated laterals and outputs, and extra levels.

    ``y_i = lateral_i(x_i) + resize(y_{i+1})``, ``output_i = conv3x3(y_i)``. The first extra level
    is a strided convolution of the coarsest input itself, the following ones of the previous extra
    level. Sizes need not halve: resizing goes to the lateral's size.

    Args:
        in_channels: Channels of the inputs, finest first.
        out_channels: Channels of every level.
        norm: Normalization and activation.
        extra_scales: Number of extra levels.
        interpolation: ``nearest`` (source index floor(i * in / out)) or ``bilinear``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        norm: NormSpec,
        *,
        extra_scales: int = 0,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
    ) -> None:
        super().__init__()
        self.interpolation = interpolation
        self.lateral = nn.ModuleList(ConvNorm(c, out_channels, 1, norm) for c in in_channels)
        self.output = nn.ModuleList(
            ConvNorm(out_channels, out_channels, 3, norm) for _ in in_channels
        )
        widths = [in_channels[-1], *[out_channels] * extra_scales]
        self.extra = nn.ModuleList(
            ConvNorm(c, out_channels, 3, norm, stride=2) for c in widths[:extra_scales]
        )
        gain = activation_gain(norm.activation, norm.slope)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_xavier(module, gain)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Merge feature maps ``(n, c_i, h_i, w_i)``, finest first, into levels, finest first."""
        merged: list[Tensor] = []
        for x, lateral in zip(reversed(inputs), reversed(self.lateral), strict=True):
            y = lateral(x)
            if merged:
                y = y + self._resize(merged[-1], (y.shape[2], y.shape[3]))
            merged.append(y)
        levels = [output(y) for y, output in zip(reversed(merged), self.output, strict=True)]
        coarsest = inputs[-1]
        for extra in self.extra:
            coarsest = extra(coarsest)
            levels.append(coarsest)
        return levels

    def _resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if self.interpolation == "nearest":
            return F.interpolate(x, size, mode="nearest")
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
