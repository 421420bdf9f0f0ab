"""The residual backbone with modulated deformable convolutions, and its pyramid.

Names of parameters are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import deform_conv2d

from eagleray_pop3d.model.config import BackboneSettings

_BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
"""Blocks per stage by depth (He et al., CVPR 2016, table 1)."""
_TAPS = 9
"""Taps of a 3 x 3 kernel."""
_GROUP_CHANNELS = 16
"""Channels that are normalized together (Wu & He, ECCV 2018, table 3)."""


class ModulatedDeformConv(nn.Conv2d):
    """A 3 x 3 convolution whose taps move and are weighted (Zhu et al., "Deformable ConvNets v2",
    CVPR 2019). The first 18 channels of ``conv_offset`` are (dy, dx) per tap in pixels, the last
    9 the taps' weights before the sigmoid; it begins as zero.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.conv_offset = nn.Conv2d(in_channels, 3 * _TAPS, 3, stride=stride, padding=1)
        nn.init.zeros_(self.conv_offset.weight)
        if self.conv_offset.bias is not None:
            nn.init.zeros_(self.conv_offset.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(n, c, h, w)`` to ``(n, c', h / stride, w / stride)``, in float32."""
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            moves = self.conv_offset(x)
            offset, weight = moves[:, : 2 * _TAPS], moves[:, 2 * _TAPS :].sigmoid()
            return deform_conv2d(
                x, offset, self.weight, stride=self.stride, padding=self.padding, mask=weight
            )


class FrozenStatisticsNorm(nn.BatchNorm2d):
    """Batch normalization with running statistics in every mode; its affine part is not trained."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(n, c, h, w)``."""
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class GroupsOfChannels(nn.GroupNorm):
    """Group normalization of 16 channels each, which needs no statistics of a batch."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features // _GROUP_CHANNELS, num_features)


_NORMS: dict[str, type[nn.Module]] = {"frozen": FrozenStatisticsNorm, "group": GroupsOfChannels}


class StrideFirstBottleneck(Bottleneck):
    """A bottleneck whose stride sits in its first 1 x 1 convolution, as in Caffe's networks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class ImageBackbone(ResNet):
    """A residual network without classifier that returns stages 2, 3 and 4."""

    def __init__(self, settings: BackboneSettings) -> None:
        block = BasicBlock if settings.depth < 50 else StrideFirstBottleneck
        norm = _NORMS[settings.norm]
        super().__init__(block, list(_BLOCKS[settings.depth]), norm_layer=norm)
        del self.fc
        self.out_channels = [128 * block.expansion, 256 * block.expansion, 512 * block.expansion]
        for stage in settings.deformable_stages:
            for part in self.get_submodule(f"layer{stage}"):
                conv = part.conv2
                part.conv2 = ModulatedDeformConv(conv.in_channels, conv.out_channels)
        if settings.frozen_stages >= 0:
            self.conv1.requires_grad_(False)
        for number in range(1, settings.frozen_stages + 1):
            self.get_submodule(f"layer{number}").requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images ``(n, 3, h, w)`` to maps of strides 8, 16 and 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer1(x)
        maps = []
        for stage in (self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class _Conv(nn.Module):
    """A convolution under the name ``conv``, as the published checkpoints have it."""

    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2)
        nn.init.xavier_uniform_(self.conv.weight)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return self.conv(x)


class ImagePyramid(nn.Module):
    """Top-down pyramid (Lin et al., CVPR 2017) without normalization; the fourth level is a strided
    convolution of the third one's output, not of its input.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(_Conv(c, channels, 1) for c in in_channels)
        self.fpn_convs = nn.ModuleList(
            [*(_Conv(channels, channels, 3) for _ in in_channels), _Conv(channels, channels, 3, 2)]
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map maps, finest first, to four levels ``(n, channels, h_l, w_l)``, finest first."""
        merged = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=True)]
        for fine in range(len(merged) - 2, -1, -1):
            size = (merged[fine].shape[2], merged[fine].shape[3])
            merged[fine] = merged[fine] + F.interpolate(merged[fine + 1], size, mode="nearest")
        *convs, last = self.fpn_convs
        levels = [conv(x) for conv, x in zip(convs, merged, strict=True)]
        return [*levels, last(levels[-1])]
