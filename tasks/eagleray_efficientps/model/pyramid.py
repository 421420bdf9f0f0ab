"""Two-way feature pyramid (Mohan & Valada, IJCV 2021, section 3.1.1).

One set of lateral convolutions feeds a top-down path, another one a bottom-up path; the sums of
both are convolved once more. Both paths resize by nearest neighbor, so the bottom-up one takes the
upper left cell of each 2 x 2 where sizes halve. Running sums are passed on.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm
from eagleray_vision.layers.folding import add_to
from eagleray_vision.layers.separable import SeparableConvNorm


class TwoWayPyramid(nn.Module):
    """Feature pyramid with a top-down path, a bottom-up path, or both.

    Args:
        in_channels: Channels of the inputs, finest first.
        channels: Channels of every level.
        norm: Normalization and activation.
        direction: Which paths there are.
        output_conv: Kind of the 3 x 3 convolutions at the outputs.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        norm: NormSpec,
        *,
        direction: Literal["two_way", "top_down", "bottom_up"] = "two_way",
        output_conv: Literal["dense", "separable"] = "dense",
    ) -> None:
        super().__init__()
        self.top_down = self.bottom_up = None
        if direction != "bottom_up":
            self.top_down = nn.ModuleList(ConvNorm(c, channels, 1, norm) for c in in_channels)
        if direction != "top_down":
            self.bottom_up = nn.ModuleList(ConvNorm(c, channels, 1, norm) for c in in_channels)
        self.output = nn.ModuleList(
            ConvNorm(channels, channels, 3, norm)
            if output_conv == "dense"
            else SeparableConvNorm(channels, channels, norm)
            for _ in in_channels
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Merge maps ``(n, c_i, h_i, w_i)``, finest first, into levels, finest first."""
        merged: list[Tensor] | None = None
        if self.top_down is not None:
            falling = _running_sums(zip(reversed(inputs), reversed(self.top_down), strict=True))
            merged = falling[::-1]
        if self.bottom_up is not None:
            rising = _running_sums(zip(inputs, self.bottom_up, strict=True))
            merged = (
                rising
                if merged is None
                else [add_to(a, b) for a, b in zip(merged, rising, strict=True)]
            )
        return [output(x) for output, x in zip(self.output, merged or [], strict=True)]


def _running_sums(levels: Iterable[tuple[Tensor, nn.Module]]) -> list[Tensor]:
    sums: list[Tensor] = []
    for x, lateral in levels:
        y: Tensor = lateral(x)
        if sums:
            y = add_to(y, F.interpolate(sums[-1], y.shape[2:], mode="nearest"))
        sums.append(y)
    return sums
