"""Depthwise-separable convolution with both halves normalized and activated."""

from torch import Tensor, nn

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.conv_norm import ConvNorm


class SeparableConvNorm(nn.Module):
    """Depthwise convolution (``depthwise``), then a 1 x 1 convolution (``pointwise``).

    A normalization and its activation follow each of the two (EfficientPS, section 3.2).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        norm: Normalization and activation of both halves.
        kernel_size: Odd side of the depthwise kernel.
        dilation: Dilation of the depthwise kernel: one number, or rows and columns.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: NormSpec,
        *,
        kernel_size: int = 3,
        dilation: int | tuple[int, int] = 1,
    ) -> None:
        super().__init__()
        self.depthwise = ConvNorm(
            in_channels, in_channels, kernel_size, norm, groups=in_channels, dilation=dilation
        )
        self.pointwise = ConvNorm(in_channels, out_channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h, w)``."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y
