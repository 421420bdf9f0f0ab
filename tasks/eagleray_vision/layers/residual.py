"""Residual blocks with activated normalization (He et al., "Deep Residual Learning", CVPR 2016).

The stride sits in the 3 x 3 convolution, as in torchvision. The last normalization of a block has
no activation; the sum of block and shortcut has.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from eagleray_vision.layers.activated_norm import NormSpec, activate
from eagleray_vision.layers.folding import norm_after


class ResidualBlock(nn.Module):
    """A basic (two 3 x 3) or bottleneck (1 x 1, 3 x 3, 1 x 1) block.

    Args:
        in_channels: Channels of the input.
        channels: Output channels of the two (basic) or three (bottleneck) convolutions.
        norm: Normalization and activation.
        stride: Stride of the block.
        dilation: Dilation of its 3 x 3 convolutions.
        dropout: Dropout probability before the last convolution.

    Raises:
        ValueError: If ``channels`` has neither two nor three entries.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        norm: NormSpec,
        *,
        stride: int = 1,
        dilation: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(channels) not in (2, 3):
            raise ValueError(
                f"a residual block has 2 (basic) or 3 (bottleneck) convolutions, found channels "
                f"{tuple(channels)}"
            )
        kernels = (3, 3) if len(channels) == 2 else (1, 3, 1)
        strides = (stride, 1) if len(channels) == 2 else (1, stride, 1)
        self.depth = len(channels)
        self.activation, self.slope = norm.activation, norm.slope
        self.convs = nn.ModuleDict()
        width = in_channels
        for index, (out, kernel, step) in enumerate(
            zip(channels, kernels, strides, strict=True), start=1
        ):
            spread = dilation if kernel == 3 else 1
            self.convs[f"conv{index}"] = nn.Conv2d(
                width,
                out,
                kernel,
                stride=step,
                padding=spread * (kernel // 2),
                dilation=spread,
                bias=False,
            )
            self.convs[f"bn{index}"] = norm.build(out, activated=index < self.depth)
            width = out
        self.dropout = nn.Dropout(dropout) if dropout > 0 else None
        if stride != 1 or in_channels != width:
            self.proj_conv = nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)
            self.proj_bn = norm.build(width, activated=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, ceil(h / stride), ceil(w / stride))``."""
        y = x
        for index in range(1, self.depth + 1):
            if index == self.depth and self.dropout is not None:
                y = self.dropout(y)
            conv = self.convs[f"conv{index}"]
            y = norm_after(conv, self.convs[f"bn{index}"], y)  # type: ignore[arg-type]
        shortcut = norm_after(self.proj_conv, self.proj_bn, x) if hasattr(self, "proj_conv") else x
        return activate(y + shortcut, self.activation, self.slope)
