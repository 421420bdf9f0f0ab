"""Pretrained backbone weights: names of other libraries, and every tensor checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eagleray.task import SettingsError
from eagleray_vision.backbones.from_libraries import TimmBackbone
from eagleray_vision.backbones.resnet import ResNet
from eagleray_vision.weights.tensors import (
    IGNORED_SUFFIX,
    WeightFileError,
    read_tensors,
    require_plain,
)


class FrozenRandomBackboneError(SettingsError):
    """Backbone modules would be frozen at random values."""


def torchvision_resnet_name(name: str) -> str | None:
    """Translate torchvision's name of a ResNet tensor to ours; ``None`` for what is not used.

    Example:
        >>> torchvision_resnet_name("layer2.0.downsample.1.bias")
        'mod3.block1.proj_bn.bias'
    """
    parts = name.split(".")
    if parts[0] == "fc" or parts[-1] == IGNORED_SUFFIX:
        return None
    if not parts[0].startswith("layer"):
        return f"mod1.{name}"
    block = f"mod{int(parts[0][5:]) + 1}.block{int(parts[1]) + 1}"
    if parts[2] == "downsample":
        return f"{block}.{('proj_conv', 'proj_bn')[int(parts[3])]}.{parts[4]}"
    return f"{block}.convs.{parts[2]}.{parts[3]}"


def timm_feature_name(name: str) -> str:
    """Translate a timm name to that of its feature extractors, which flatten the first levels.

    Example:
        >>> timm_feature_name("stages.0.blocks.1.norm.bias")
        'stages_0.blocks.1.norm.bias'
    """
    return re.sub(r"^(\w+)\.(\d+)\.", r"\1_\2.", name)


def _our_names(backbone: nn.Module, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the file's tensors by our names, without those that are known to be unused."""
    named = {}
    for name, value in tensors.items():
        ours: str | None = name
        if isinstance(backbone, ResNet):
            is_torchvision = "conv1.weight" in tensors
            ours = torchvision_resnet_name(name) if is_torchvision else name
        elif isinstance(backbone, TimmBackbone):
            wanted = backbone.model.state_dict()
            ours = name if name in wanted else timm_feature_name(name)
        elif name.startswith(("classifier.", "features.18.")):
            ours = None
        if ours is not None and not ours.endswith(IGNORED_SUFFIX):
            named[ours] = value
    return named


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Copy pretrained weights into a backbone, every tensor of it.

    Residual backbones read torchvision's names or ours (``mod1.conv1.weight``), MobileNetV2
    torchvision's, timm backbones timm's. Floating point types are converted.

    Raises:
        WeightFileError: If the file cannot be read, or tensors are missing or have other shapes.
    """
    target: nn.Module = backbone.model if isinstance(backbone, TimmBackbone) else backbone
    named = _our_names(backbone, read_tensors(path))
    wanted = {k: v for k, v in target.state_dict().items() if not k.endswith(IGNORED_SUFFIX)}
    missing = sorted(set(wanted) - set(named))
    shared = set(wanted) & set(named)
    wrong = sorted(k for k in shared if wanted[k].shape != getattr(named[k], "shape", None))
    if missing or wrong:
        raise WeightFileError(
            f"{path} does not fit the backbone: {len(missing)} of {len(wanted)} tensors are "
            f"missing (first: {missing[:3]}), {len(wrong)} have another shape "
            f"(first: {wrong[:3]}); check that body.backbone and body.weights belong together"
        )
    require_plain(path, {k: named[k] for k in wanted})
    target.load_state_dict({k: named[k] for k in wanted}, strict=False)
