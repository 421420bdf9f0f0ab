"""A convolution without bias and its activated normalization."""

from torch import Tensor, nn

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.folding import norm_after


class ConvNorm(nn.Module):
    """Convolution (``conv``) followed by activated normalization (``bn``).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel; padding keeps the size at stride 1.
        norm: Normalization and activation.
        stride: Stride.
        groups: Convolution groups (``in_channels`` for a depthwise convolution).
        dilation: Dilation; one number, or one for rows and one for columns.
        activated: Whether the activation follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm: NormSpec,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int | tuple[int, int] = 1,
        activated: bool = True,
    ) -> None:
        super().__init__()
        dilations = (dilation, dilation) if isinstance(dilation, int) else dilation
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(dilations[0] * (kernel_size // 2), dilations[1] * (kernel_size // 2)),
            dilation=dilations,
            groups=groups,
            bias=False,
        )
        self.bn = norm.build(out_channels, activated=activated)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, h / stride, w / stride)``, rounded up."""
        return norm_after(self.conv, self.bn, x)
