"""EfficientNet without squeeze-and-excitation, with in-place activated normalization.

Tan & Le, "EfficientNet", ICML 2019, as EfficientPS changes it (Mohan & Valada, IJCV 2021, section
3.1): no squeeze-and-excitation, iABN with leaky ReLU for batch normalization and swish. Where the
activation goes is not uniform: the first stage also activates its projections, the others do not.

Strided convolutions pad as TensorFlow does ("SAME": the odd pixel at the bottom and right). Names
of modules follow the parts; ``timm_name`` in ``backbone_weights`` says what timm calls them.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec, activate
from eagleray_vision.layers.folding import add_to, norm_after

STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
"""Channels at width 1 (EfficientNet, table 1)."""
EXPANSION = 6
"""Expansion of the inverted residuals."""
SQUEEZE_RATIO = 0.25
"""Channels of a squeeze-and-excitation unit relative to its block's input."""
_CHANNEL_STEP = 8
_LARGEST_LOSS = 0.9
"""Rounding may take away at most a tenth of the channels."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage at width and depth 1: repeats, kernel side, stride, output channels."""

    repeats: int
    kernel: int
    stride: int
    channels: int


STAGES = (
    StageSpec(1, 3, 1, 16),
    StageSpec(2, 3, 2, 24),
    StageSpec(2, 5, 2, 40),
    StageSpec(3, 3, 2, 80),
    StageSpec(3, 5, 1, 112),
    StageSpec(4, 5, 2, 192),
    StageSpec(1, 3, 1, 320),
)
"""EfficientNet, table 1; the first stage is depthwise-separable, the others expand."""

OUTPUT_STAGES = (1, 2, 4)
"""Stages whose outputs are C2, C3 and C4; C5 is the final 1 x 1 convolution's."""

SCALINGS = {
    "efficientnet_b0": (1.0, 1.0),
    "efficientnet_b4": (1.4, 1.8),
    "efficientnet_b5": (1.6, 2.2),
}
"""Width and depth factors (EfficientNet, released configurations)."""


def round_channels(channels: float) -> int:
    """Round to a multiple of 8 that keeps at least nine tenths.

    Example:
        >>> [round_channels(c * 1.6) for c in (32, 24, 112, 1280)]
        [48, 40, 176, 2048]
    """
    nearest = int(channels + _CHANNEL_STEP / 2) // _CHANNEL_STEP * _CHANNEL_STEP
    rounded = max(_CHANNEL_STEP, nearest)
    return rounded + _CHANNEL_STEP if rounded < _LARGEST_LOSS * channels else rounded


class StridedConv(nn.Conv2d):
    """Convolution of stride 2 with TensorFlow's padding: ceil(size / 2) cells.

    The odd pixel of padding belongs at the end. Where sizes are even, a row or column of zeros in
    front of the kernel puts it there; padding the input would copy the largest maps of the network.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, columns = (1 - size % 2 for size in input.shape[2:])
        grown = F.pad(weight, (columns, 0, rows, 0))
        padding = weight.shape[2] // 2
        return F.conv2d(input, grown, bias, self.stride, padding, groups=self.groups)


class SameConv(nn.Module):
    """Convolution with TensorFlow's padding, followed by normalization.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Odd side of the kernel.
        norm: Normalization and activation.
        stride: 1 or 2.
        groups: Convolution groups.
        activated: Whether the activation follows.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        norm: NormSpec,
        *,
        stride: int = 1,
        groups: int = 1,
        activated: bool = True,
    ) -> None:
        super().__init__()
        self.conv = (nn.Conv2d if stride == 1 else StridedConv)(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.norm = norm.build(out_channels, activated=activated)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, ceil(h / stride), ceil(w / stride))``."""
        return norm_after(self.conv, self.norm, x)


class SqueezeExcitation(nn.Module):
    """Channel weights from the mean over the map (Hu et al., CVPR 2018).

    Args:
        channels: Channels of the map.
        hidden: Channels in between.
        norm: Its activation is used.
    """

    def __init__(self, channels: int, hidden: int, norm: NormSpec) -> None:
        super().__init__()
        self.activation, self.slope = norm.activation, norm.slope
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weight the channels of ``(n, c, h, w)``."""
        hidden = activate(self.reduce(x.mean((2, 3), keepdim=True)), self.activation, self.slope)
        return x * self.expand(hidden).sigmoid()


class Block(nn.Module):
    """Inverted residual, or (``expansion=1``) a depthwise-separable block.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Side of the depthwise kernel.
        norm: Normalization and activation.
        stride: Stride of the depthwise convolution.
        expansion: Factor of the inner channels; 1: no expansion, and an activated projection.
        squeeze_excitation: Weight the inner channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        norm: NormSpec,
        *,
        stride: int,
        expansion: int,
        squeeze_excitation: bool,
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.expand = SameConv(in_channels, inner, 1, norm) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, norm, stride=stride, groups=inner)
        self.excite: SqueezeExcitation | None = None
        if squeeze_excitation:
            hidden = max(1, int(in_channels * SQUEEZE_RATIO))
            self.excite = SqueezeExcitation(inner, hidden, norm)
        self.project = SameConv(inner, out_channels, 1, norm, activated=expansion == 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, h, w)`` to ``(n, out, ceil(h / stride), ceil(w / stride))``."""
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.excite is not None:
            y = self.excite(y)
        y = self.project(y)
        return add_to(y, x) if self.has_shortcut else y


class EfficientNet(nn.Module):
    """The backbone: images to C2, C3, C4, C5 at strides 4, 8, 16, 32.

    Args:
        width: Factor of the channels.
        depth: Factor of the repeats.
        norm: Normalization and activation.
        squeeze_excitation: Keep the squeeze-and-excitation units.
    """

    def __init__(
        self, width: float, depth: float, norm: NormSpec, *, squeeze_excitation: bool = False
    ) -> None:
        super().__init__()
        channels = round_channels(STEM_CHANNELS * width)
        self.stem = SameConv(3, channels, 3, norm, stride=2)
        self.stages = nn.ModuleList()
        self.out_channels: list[int] = []
        for index, stage in enumerate(STAGES):
            out = round_channels(stage.channels * width)
            blocks = nn.Sequential()
            for repeat in range(math.ceil(stage.repeats * depth)):
                blocks.append(
                    Block(
                        channels,
                        out,
                        stage.kernel,
                        norm,
                        stride=stage.stride if repeat == 0 else 1,
                        expansion=EXPANSION if index else 1,
                        squeeze_excitation=squeeze_excitation,
                    )
                )
                channels = out
            self.stages.append(blocks)
            if index in OUTPUT_STAGES:
                self.out_channels.append(out)
        last = round_channels(HEAD_CHANNELS * width)
        self.head = SameConv(channels, last, 1, norm)
        self.out_channels.append(last)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(n, 3, h, w)`` to C2, C3, C4, C5; any size."""
        x: Tensor = self.stem(images)
        outputs = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in OUTPUT_STAGES:
                outputs.append(x)
        return [*outputs, self.head(x)]

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing."""
        return [block for stage in self.stages for block in stage.children()]
