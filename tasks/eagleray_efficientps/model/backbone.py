"""The backbone by its name: an EfficientNet, or for comparison one of the other papers'."""

from pathlib import Path

from torch import Tensor, nn

from eagleray_efficientps.model.backbone_weights import load_backbone_weights
from eagleray_efficientps.model.config import BackboneSettings
from eagleray_efficientps.model.efficientnet import SCALINGS, EfficientNet
from eagleray_vision.backbones.from_libraries import MobileNetV2
from eagleray_vision.backbones.pretrained import load_backbone_weights as load_foreign_weights
from eagleray_vision.backbones.resnet import ResNet
from eagleray_vision.layers.activated_norm import NormSpec
from eagleray_vision.layers.residual import ResidualBlock

_RESNET_DEPTH = 50
_MODULES = ("mod2", "mod3", "mod4", "mod5")
"""Outputs at strides 4, 8, 16 and 32."""


class ForeignBackbone(nn.Module):
    """A backbone that returns its outputs by name.

    Args:
        body: ResNet or MobileNetV2.
    """

    def __init__(self, body: ResNet | MobileNetV2) -> None:
        super().__init__()
        self.body = body
        self.out_channels = [body.out_channels[name] for name in _MODULES]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images ``(n, 3, h, w)`` to C2, C3, C4, C5."""
        outputs = self.body(images)
        return [outputs[name] for name in _MODULES]

    def checkpoint_blocks(self) -> list[nn.Module]:
        """Return the blocks whose activations are worth recomputing."""
        if isinstance(self.body, MobileNetV2):
            return list(self.body.features)
        return [module for module in self.body.modules() if isinstance(module, ResidualBlock)]


def build_backbone(settings: BackboneSettings, norm: NormSpec) -> EfficientNet | ForeignBackbone:
    """Return the backbone that the settings name, with random weights.

    Args:
        settings: Its settings.
        norm: Normalization and activation; MobileNetV2 keeps its own, frozen.
    """
    if settings.name == "resnet50":
        return ForeignBackbone(ResNet(_RESNET_DEPTH, norm))
    if settings.name == "mobilenet_v2":
        return ForeignBackbone(MobileNetV2())
    width, depth = SCALINGS[settings.name]
    return EfficientNet(width, depth, norm, squeeze_excitation=settings.squeeze_excitation)


def load_pretrained(backbone: EfficientNet | ForeignBackbone, path: Path) -> None:
    """Copy pretrained weights into a backbone, every tensor of it.

    Args:
        backbone: The backbone.
        path: File of tensors by timm's names, or torchvision's for the other backbones.

    Raises:
        WeightFileError: The file cannot be read or does not fit.
    """
    if isinstance(backbone, EfficientNet):
        load_backbone_weights(backbone, path)
    else:
        load_foreign_weights(backbone.body, path)
