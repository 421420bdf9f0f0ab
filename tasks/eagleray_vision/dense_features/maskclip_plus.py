"""MaskCLIP+ ("Extract Free Dense Labels from CLIP", ECCV 2022): the trained student network.

A ResNet-V1c of output stride 8 and the sum of four dilated convolutions: 512 channels in the space
of CLIP ViT-B/16's words (docs/originals/pop3d.md 3). Names of parameters are mmseg's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from eagleray_vision.dense_features.extractor import DenseExtractor, keep_ratio
from eagleray_vision.weights.tensors import (
    IGNORED_SUFFIX,
    WeightFileError,
    read_tensors,
    require_plain,
)

NUM_BLOCKS: Mapping[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks of the four layers by depth."""
_STRIDES, _DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
_ASPP_DILATIONS = (6, 12, 18, 24)
_CHANNELS = 512
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_UNUSED = ("decode_head.clip.", "decode_head.proj.", "auxiliary_head.")
"""Parts of a published file that only trained the student."""


class ResNetV1c(nn.Module):
    """Residual network with a stem of three convolutions and output stride 8.

    Args:
        depth: 50 or 101.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.stem = nn.Sequential(*layers)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        width = 64
        for k, count in enumerate(NUM_BLOCKS[depth]):
            inner = 64 << k
            self.add_module(f"layer{k + 1}", _layer(width, inner, count, k))
            width = 4 * inner

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 2048, H / 8, W / 8)."""
        y: Tensor = self.pool(self.stem(x))
        for k in range(1, 5):
            y = getattr(self, f"layer{k}")(y)
        return y


def _layer(width: int, inner: int, count: int, index: int) -> nn.Sequential:
    stride, dilation = _STRIDES[index], _DILATIONS[index]
    shortcut = nn.Sequential(
        nn.Conv2d(width, 4 * inner, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * inner)
    )
    # "Contracted": the first block of a dilated layer has half its dilation.
    blocks = [Bottleneck(width, inner, stride, shortcut, dilation=max(1, dilation // 2))]
    blocks += [Bottleneck(4 * inner, inner, dilation=dilation) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


class _ConvNormRelu(nn.Module):
    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, h, w) to (B, out, h, w), not negative."""
        return torch.relu(self.bn(self.conv(x)))


class MaskClipPlus(DenseExtractor):
    """The student, always in evaluation mode.

    Args:
        depth: 50 or 101.
        long_px: Bound of a photograph's longer side after resizing.
        short_px: Bound of the shorter one.
    """

    name: ClassVar[str] = "MaskCLIP+"

    def __init__(self, depth: int = 50, *, long_px: int = 2048, short_px: int = 1024) -> None:
        super().__init__()
        self.depth, self._bounds = depth, (long_px, short_px)
        self.channels, self.is_non_negative = _CHANNELS, True
        self.backbone = ResNetV1c(depth)
        self.decode_head = nn.Module()
        self.decode_head.decode_module = nn.Module()
        self.decode_head.decode_module.aspp_modules = nn.ModuleList(
            _ConvNormRelu(2048, _CHANNELS, dilation) for dilation in _ASPP_DILATIONS
        )
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> MaskClipPlus:
        """Stay in evaluation mode: the network is frozen."""
        super().train(False)
        return self

    def input_size(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the largest size of the photograph's ratio within the bounds."""
        return keep_ratio(image_hw, *self._bounds)

    def normalize(self, image: Tensor) -> Tensor:
        """Subtract ImageNet's mean, divide by its deviation."""
        mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (_MEAN, _STD))
        return (image.float() - mean) / std

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 512, H / 8, W / 8), never negative."""
        features = self.backbone(inputs)
        modules: Any = self.decode_head.decode_module.aspp_modules  # type: ignore[union-attr]
        total: Tensor = modules[0](features)
        for one in modules[1:]:
            total = total + one(features)
        return total


def read_maskclip_plus(path: Path, *, long_px: int = 2048, short_px: int = 1024) -> MaskClipPlus:
    """Read a student from a published file; its depth is read off the file, whatever its name says.

    Args:
        path: mmseg's checkpoint or its state dict.
        long_px: Bound of a photograph's longer side.
        short_px: Bound of the shorter one.

    Raises:
        WeightFileError: The file is unreadable, has another number of blocks than depth 50 or 101,
            lacks a tensor, has one of another shape, or one that nothing is known of.
    """
    content = read_tensors(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise WeightFileError(f"{path}: its state_dict is a {type(state).__name__}")
    tensors = {str(name).removeprefix("module."): value for name, value in state.items()}
    with torch.device("meta"):  # no random numbers for what is replaced at once
        network = MaskClipPlus(_depth(path, tensors), long_px=long_px, short_px=short_px)
    own = network.state_dict()
    kept = {n: v for n, v in tensors.items() if n in own and not n.endswith(IGNORED_SUFFIX)}
    missing = [n for n in own if n not in kept and not n.endswith(IGNORED_SUFFIX)]
    unknown = [
        n
        for n in tensors
        if n not in own
        and not n.startswith(_UNUSED)
        and n not in ("decode_head.text_embeddings", "decode_head._iter_counter")
    ]
    wrong = [n for n, v in kept.items() if getattr(v, "shape", None) != own[n].shape]
    for what, names in (("lacks", missing), ("does not fit in", wrong), ("has unknown", unknown)):
        if names:
            raise WeightFileError(
                f"{path} {what} {len(names)} tensors of a MaskCLIP+ student of depth "
                f"{network.depth} ({', '.join(names[:5])}); give a checkpoint of "
                "maskclip_plus_vit16_deeplabv2_r50 or r101"
            )
    require_plain(path, kept)
    counters = {n: torch.zeros((), dtype=torch.int64) for n in own if n.endswith(IGNORED_SUFFIX)}
    values = {n: v.to(torch.float32).contiguous() for n, v in kept.items()}
    network.load_state_dict({**values, **counters}, assign=True)
    return network.requires_grad_(False)


def _depth(path: Path, tensors: Mapping[str, Any]) -> int:
    blocks = {n.split(".")[2] for n in tensors if n.startswith("backbone.layer3.")}
    for depth, counts in NUM_BLOCKS.items():
        if len(blocks) == counts[2]:
            return depth
    raise WeightFileError(
        f"{path}: backbone.layer3 has {len(blocks)} blocks; a MaskCLIP+ student has 6 "
        "(depth 50) or 23 (depth 101)"
    )
