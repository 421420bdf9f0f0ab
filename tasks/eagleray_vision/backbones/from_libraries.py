"""Backbones that other libraries define: torchvision's MobileNetV2 and any timm feature extractor.

They keep their own normalization. MobileNetV2's is frozen: the weights that we know of have it
folded into the convolutions (scale 1, mean 0, variance 1 - eps), and batch statistics would undo
that. Both return the same names as the residual backbones: mod2 .. mod5 at strides 4, 8, 16, 32.
"""

from typing import Any

import timm
import torchvision
from torch import Tensor, nn

from eagleray.task import SettingsError

_MOBILENET_STAGES = (2, 4, 7, 14, 18)
"""Ends of mod1 .. mod5 in the feature list: the last block at strides 2, 4, 8, 16 and 32."""
_MOBILENET_CHANNELS = (16, 24, 32, 96, 320)
_STRIDES = {4: "mod2", 8: "mod3", 16: "mod4", 32: "mod5"}


class MobileNetV2(nn.Module):
    """torchvision's MobileNetV2 up to its last inverted residual block, normalization frozen."""

    def __init__(self) -> None:
        super().__init__()
        whole = torchvision.models.mobilenet_v2(norm_layer=torchvision.ops.misc.FrozenBatchNorm2d)
        self.features = whole.features[: _MOBILENET_STAGES[-1]]
        self.out_channels = {
            f"mod{index}": channels for index, channels in enumerate(_MOBILENET_CHANNELS, start=1)
        }

    def frozen_modules(self, count: int) -> list[nn.Module]:
        """Return the first ``count`` of mod1 .. mod5."""
        return list(self.features[: (0, *_MOBILENET_STAGES)[count]])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images ``(n, 3, h, w)`` to mod1 .. mod5 (strides 2, 4, 8, 16, 32)."""
        outputs = {}
        for position, layer in enumerate(self.features, start=1):
            x = layer(x)
            if position in _MOBILENET_STAGES:
                outputs[f"mod{_MOBILENET_STAGES.index(position) + 1}"] = x
        return outputs


class TimmBackbone(nn.Module):
    """A timm model as feature extractor.

    Args:
        name: timm's model name; must offer features at strides 4, 8, 16 and 32.

    Raises:
        SettingsError: If timm does not know the model or it has other strides.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            self.model: Any = timm.create_model(name, pretrained=False, features_only=True)
        except RuntimeError as error:
            raise SettingsError(
                f"backbone timm:{name}: timm has no such model as a feature extractor ({error}); "
                "timm.list_models() lists the names"
            ) from error
        if getattr(self.model, "output_fmt", "NCHW") != "NCHW":
            raise SettingsError(
                f"backbone timm:{name} keeps channels last ({self.model.output_fmt}): choose a "
                "convolutional network"
            )
        reductions = self.model.feature_info.reduction()
        if not set(_STRIDES) <= set(reductions):
            raise SettingsError(
                f"backbone timm:{name} offers features at strides {reductions}, needed are "
                f"{sorted(_STRIDES)}: choose a convolutional pyramid network"
            )
        self._names = [_STRIDES.get(reduction) for reduction in reductions]
        self.out_channels = {
            name: channels
            for name, channels in zip(self._names, self.model.feature_info.channels(), strict=True)
            if name is not None
        }

    def frozen_modules(self, count: int) -> list[nn.Module]:
        """Return nothing (0) or the whole model (5); timm's stages have no common names.

        Raises:
            SettingsError: If ``count`` is neither 0 nor 5.
        """
        if count not in (0, 5):
            raise SettingsError(
                f"body.num_frozen = {count}: a timm backbone can be frozen as a whole (5) or not "
                "at all (0)"
            )
        return [self.model] if count else []

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images ``(n, 3, h, w)`` to mod2 .. mod5 (strides 4, 8, 16, 32)."""
        return {
            name: y for name, y in zip(self._names, self.model(x), strict=True) if name is not None
        }
