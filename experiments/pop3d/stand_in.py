"""Stand-ins for MaskCLIP+, whose weights cannot be shipped: real networks, other features.

Both read ``$EAGLERAY_DATA/small_models``; results with them are named a stand-in everywhere. The
Cityscapes network's training data may not be used commercially, so neither it nor what is computed
by it belongs to the package.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from eagleray_vision.dense_features.extractor import DenseExtractor, keep_ratio


def _odd(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the next sizes of 16 k + 1: "same" padding is symmetric there."""
    height, width = (max(1, round((side - 1) / 16)) * 16 + 1 for side in size_hw)
    return height, width


class _SmallNetwork(DenseExtractor):
    def __init__(self, long_px: int, short_px: int) -> None:
        super().__init__()
        self._bounds = long_px, short_px

    def input_size(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the photograph's ratio within the bounds, in sides of 16 k + 1."""
        return _odd(keep_ratio(image_hw, *self._bounds))

    def normalize(self, image: Tensor) -> Tensor:
        """Scale to -1..1."""
        return image.float() / 127.5 - 1.0


class VocFeatures(_SmallNetwork):
    """256 dense channels of a DeepLabV3 with MobileNetV2, trained on PASCAL VOC (Apache-2.0)."""

    name: ClassVar[str] = "stand-in: VOC network"

    def __init__(self, data: Path, *, long_px: int = 913, short_px: int = 513) -> None:
        super().__init__(long_px, short_px)
        state = torch.load(
            data / "small_models" / "deeplabv3_mnv2_voc21_fp16.pt", weights_only=True
        )
        state = {name: value.float() for name, value in state.items()}
        self.channels, self.is_non_negative = 256, True
        self.features = torchvision.models.mobilenet_v2(weights=None).features[:18]
        self.features.load_state_dict(
            {n.removeprefix("backbone."): v for n, v in state.items() if n.startswith("backbone.")}
        )
        for index, dilation in ((14, 1), (15, 2), (16, 2), (17, 2)):
            depthwise = self.features[index].conv[1][0]
            depthwise.stride, depthwise.dilation = (1, 1), (dilation, dilation)
            depthwise.padding = (dilation, dilation)
        self.head = {n.removeprefix("head."): v for n, v in state.items() if n.startswith("head.")}
        self.eval().requires_grad_(False)

    def _conv(self, name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.head[f"{name}.weight"], self.head[f"{name}.bias"])

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Map (B, 3, h, w) to (B, 256, h / 16, w / 16), never negative."""
        f = self.features(inputs)
        local = F.relu(self._conv("aspp0", f))
        pooled = F.relu(self._conv("image_pooling", f.mean(dim=(2, 3), keepdim=True)))
        joined = torch.cat([pooled.expand_as(local), local], dim=1)
        return F.relu(self._conv("concat_projection", joined))

    def logits(self, features: Tensor) -> Tensor:
        """Return (B, 21, h, w) class scores of a feature map."""
        return self._conv("logits", features)


class CityscapesInWords(_SmallNetwork):
    """Class probabilities of a Cityscapes network times the rows of CLIP's text vectors of their
    COCO-Stuff names: 512 channels in the space of words.
    """

    name: ClassVar[str] = "stand-in: Cityscapes classes in words"

    def __init__(self, data: Path, *, long_px: int = 1025, short_px: int = 577) -> None:
        super().__init__(long_px, short_px)
        folder = data / "small_models"
        layers = json.loads((folder / "deeplab_cityscapes19_layers.json").read_text())
        self.layers = layers[
            : next(k for k, one in enumerate(layers) if one["op"] == "resize_bilinear")
        ]
        arrays = np.load(folder / "deeplab_cityscapes19_weights_fp16.npz")
        self.arrays = {n: torch.from_numpy(arrays[n].astype(np.float32)) for n in arrays.files}
        self.texts = class_texts(data)
        self.channels = self.texts.shape[1]

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Return (B, 19, h / 16, w / 16) class probabilities."""
        values = {0: inputs}
        for layer in self.layers:
            values[layer["out"]] = _OPERATIONS[layer["op"]](self, layer, values)
        return values[self.layers[-1]["out"]].softmax(dim=1)

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Map (B, 3, h, w) to (B, 512, h / 16, w / 16)."""
        return torch.einsum("bkhw,kc->bchw", self.probabilities(inputs), self.texts)

    def _convolved(self, layer: dict[str, Any], values: dict[int, Tensor]) -> Tensor:
        x, weight = values[layer["inputs"][0]], self.arrays[layer["weight"]]
        stride, dilation = layer["stride"], layer["dilation"]
        pads: list[int] = []
        for side, kernel in zip(x.shape[:1:-1], weight.shape[:1:-1], strict=True):
            total = max(0, (-(-side // stride) - 1) * stride + dilation * (kernel - 1) + 1 - side)
            pads += [total // 2, total - total // 2]
        y = F.conv2d(
            F.pad(x, pads),
            weight,
            self.arrays[layer["bias"]],
            stride,
            0,
            dilation,
            layer.get("groups", 1),
        )
        return _activated(y, layer.get("activation", "none"))


def _activated(x: Tensor, kind: str) -> Tensor:
    return {"none": lambda v: v, "relu": F.relu, "relu6": F.relu6}[kind](x)


_OPERATIONS: dict[str, Callable[[CityscapesInWords, dict[str, Any], dict[int, Tensor]], Tensor]] = {
    "conv_2d": CityscapesInWords._convolved,
    "depthwise_conv_2d": CityscapesInWords._convolved,
    "add": lambda _, layer, v: _activated(
        v[layer["inputs"][0]] + v[layer["inputs"][1]], layer.get("activation", "none")
    ),
    "average_pool_2d": lambda _, layer, v: v[layer["inputs"][0]].mean(dim=(2, 3), keepdim=True),
    "tile": lambda _, layer, v: v[layer["inputs"][0]],
    "quantize": lambda _, layer, v: v[layer["inputs"][0]],
    "concatenation": lambda _, layer, v: torch.cat(
        [
            v[k].expand(-1, -1, *max((v[i].shape[2:] for i in layer["inputs"]), key=tuple))
            for k in layer["inputs"]
        ],
        dim=1,
    ),
}


def class_texts(data: Path) -> Tensor:
    """Return (19, 512) unit rows: CLIP ViT-B/16's vectors of the classes' COCO-Stuff names."""
    folder = data / "clip_text_embeddings"
    rows = torch.from_numpy(np.load(folder / "coco_stuff171_vitb16_multi.npy").astype(np.float32))
    names = json.loads((folder / "coco_stuff171_names.json").read_text())
    of_class = json.loads((folder / "cityscapes19_to_stuff171.json").read_text())
    means = [rows[[names.index(n) for n in stuff]].mean(dim=0) for stuff in of_class.values()]
    return F.normalize(torch.stack(means), dim=1)
