"""Residual backbones of depth 18 to 152 with activated normalization."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.folding import norm_after
from eagleray_vision.layers.initialization import activation_gain, init_xavier
from eagleray_vision.layers.residual import ResidualBlock

NUM_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of modules 2 to 5 by depth (He et al., CVPR 2016, table 1)."""

_STEM_CHANNELS = 64


class Stem(nn.Module):
    """7 x 7 convolution of stride 2 with normalization, then 3 x 3 max-pooling of stride 2."""

    def __init__(self, norm: NormSpec, *, bias: bool, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM_CHANNELS, 7, stride=2, padding=3, bias=bias)
        self.bn1 = norm.build(_STEM_CHANNELS)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, 3, h, w)`` to ``(n, 64, h / 4, w / 4)``, or / 2 without pooling."""
        y = norm_after(self.conv1, self.bn1, x)
        return F.max_pool2d(y, 3, stride=2, padding=1) if self.pool else y


class ResNet(nn.Module):
    """A residual network that returns all of its modules' outputs.

    Args:
        depth: 18, 34 (basic blocks), 50, 101 or 152 (bottleneck blocks).
        norm: Normalization and activation.
        dilation: Dilation of modules 2 to 5; a dilated module has stride 1, and a dilated module 2
            also drops the max-pooling of the stem.
        dropout: Dropout probability before the last convolution of each block of modules 2 to 5.
        stem_bias: Give the first convolution a bias, as Caffe's residual networks have.
    """

    def __init__(
        self,
        depth: int,
        norm: NormSpec,
        *,
        dilation: Sequence[int] = (1, 1, 1, 1),
        dropout: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        stem_bias: bool = False,
    ) -> None:
        super().__init__()
        self.mod1 = Stem(norm, bias=stem_bias, pool=dilation[0] == 1)
        self.out_channels: dict[str, int] = {"mod1": _STEM_CHANNELS}
        width = _STEM_CHANNELS
        for index, (count, spread, drop) in enumerate(
            zip(NUM_BLOCKS[depth], dilation, dropout, strict=True)
        ):
            inner = _STEM_CHANNELS << index
            channels = (inner, inner) if depth < 50 else (inner, inner, 4 * inner)
            blocks = nn.ModuleDict()
            for number in range(1, count + 1):
                first_stride = 2 if index > 0 and spread == 1 else 1
                blocks[f"block{number}"] = ResidualBlock(
                    width,
                    channels,
                    norm,
                    stride=first_stride if number == 1 else 1,
                    dilation=spread,
                    dropout=drop,
                )
                width = channels[-1]
            self.add_module(f"mod{index + 2}", blocks)
            self.out_channels[f"mod{index + 2}"] = width
        gain = activation_gain(norm.activation, norm.slope)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_xavier(module, gain)

    def frozen_modules(self, count: int) -> list[nn.Module]:
        """Return the first ``count`` of mod1 .. mod5."""
        return [self.get_submodule(f"mod{index}") for index in range(1, count + 1)]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images ``(n, 3, h, w)`` to mod1 .. mod5 (strides 4, 4, 8, 16, 32 undilated)."""
        outputs = {"mod1": self.mod1(x)}
        y = outputs["mod1"]
        for index in range(2, 6):
            for block in getattr(self, f"mod{index}").values():
                y = block(y)
            outputs[f"mod{index}"] = y
        return outputs
