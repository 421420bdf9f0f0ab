"""Import of published weights: POP-3D itself, its starting point, and its text vectors.

Our names are the original's, so tensors are copied; what is derived (anchors) is compared with ours
and left out (docs/originals/pop3d.md, section 15).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eagleray.task import ImportedCheckpoint
from eagleray_pop3d.model.config import NetworkSettings
from eagleray_pop3d.model.geometry import anchors, plane_positions
from eagleray_pop3d.model.network import Pop3dNetwork
from eagleray_pop3d.prompts import RAW_CLASS_OF_WORD, WORDS
from eagleray_vision.weights.accounting import check_shapes, imported_checkpoint
from eagleray_vision.weights.tensors import WeightFileError, read_plain, read_tensors

_WRAPPER = "module."
"""Prefix that distributed training puts before names."""
_START_PARTS = ("img_backbone.", "img_neck.")
"""Parts of the network that the starting point holds."""
_DERIVED = "tpv_head.encoder.ref_"
"""Anchors, which the original stores."""
_UNUSED = ("tpv_head.tpv_mask_hw", *(f"{_DERIVED}2d_{plane}" for plane in ("zh", "wz")))
"""Tensors that nothing reads: a mask of zeros, and centers of planes without attention."""
_ANCHOR_TOLERANCE = 1e-5
"""Of coordinates in 0..1."""
_NUM_NAMED = 5


def import_weights(path: Path, settings: NetworkSettings) -> ImportedCheckpoint:
    """Read ``pop3d_weights.pth``, or any checkpoint of the original's training.

    Args:
        path: File of ``torch.save`` or safetensors; tensors under ``state_dict`` or at the top,
            with or without the prefix ``module.``.
        settings: The network that they are for.

    Returns:
        Weights by our names; whatever else the file holds (optimizer, scores, anchors) is extra.

    Raises:
        WeightFileError: The file cannot be read safely, holds no tensor of the network, tensors of
            other shapes, or anchors of another grid.
    """
    content = read_tensors(path)
    tensors, extra = _network_tensors(content)
    own = _own_tensors(settings)
    _compare_anchors(path, tensors, settings)
    names = {name: name for name in tensors if name in own}
    if not names:
        raise WeightFileError(
            f"{path} holds no tensor of POP-3D; its entries begin with "
            f"{sorted(content)[:_NUM_NAMED]}. Expected are names such as tpv_head.level_embeds, "
            "with or without module. before them"
        )
    check_shapes(
        path,
        tensors,
        names,
        own,
        "Use the grid, backbone and rig that the file was trained with",
    )
    left = [name for name in tensors if name not in own]
    return imported_checkpoint(tensors, names, own, [*extra, *left])


def import_start(path: Path, settings: NetworkSettings) -> ImportedCheckpoint:
    """Read what training begins with: a detector's backbone and pyramid
    (``r101_dcn_fcos3d_pretrain.pth``), or a backbone in torchvision's names.

    Where the pyramid has other shapes it is left out as a whole, and said to be missing.

    Args:
        path: File of ``torch.save`` or safetensors.
        settings: The network that they are for.

    Raises:
        WeightFileError: The file cannot be read safely, or its backbone is another one.
    """
    tensors, extra = _network_tensors(read_tensors(path))
    if not any(name.startswith(_START_PARTS) for name in tensors):
        tensors = {f"{_START_PARTS[0]}{name}": tensor for name, tensor in tensors.items()}
    own = {n: t for n, t in _own_tensors(settings).items() if n.startswith(_START_PARTS)}
    names = {name: name for name in tensors if name in own}
    neck = [name for name in names if name.startswith(_START_PARTS[1])]
    if any(tensors[name].shape != own[name].shape for name in neck):
        names = {name: ours for name, ours in names.items() if name not in neck}
    if not any(name.endswith("layer4.0.conv1.weight") for name in names):
        raise WeightFileError(
            f"{path} holds no residual backbone; its tensors begin with "
            f"{sorted(tensors)[:_NUM_NAMED]}. Expected are img_backbone.* and img_neck.* (FCOS3D), "
            "or conv1, layer1, ... (torchvision)"
        )
    check_shapes(
        path, tensors, names, own, "Set settings.network.backbone.depth to the file's depth"
    )
    left = [name for name in tensors if name not in names]
    return imported_checkpoint(tensors, names, own, [*extra, *left])


@dataclass(frozen=True)
class WordVectors:
    """Vectors of words, with the raw class that each describes.

    Attributes:
        vectors: ``(T, D)`` float32.
        raw_classes: ``(T,)`` 0..31.
        words: The words, where they are the 102 of the original in their order; else empty.
    """

    vectors: Tensor
    raw_classes: tuple[int, ...]
    words: tuple[str, ...]


def read_word_vectors(path: Path, feature_channels: int) -> WordVectors:
    """Read ``zeroshot_weights.pth``: a matrix of vectors, and the raw class of each.

    Args:
        path: File of ``torch.save`` with a pair.
        feature_channels: Width D of the text space; tells rows from columns.

    Raises:
        WeightFileError: The file cannot be read safely, is no such pair, or of another width.
    """
    content: Any = read_plain(path)
    if not (isinstance(content, tuple | list) and len(content) == 2):
        raise WeightFileError(
            f"{path} holds {type(content).__name__}; expected is a pair of a matrix of text "
            "vectors and a list of raw lidarseg classes"
        )
    matrix, classes = content
    classes = classes.tolist() if isinstance(classes, Tensor) else list(classes)
    vectors = torch.as_tensor(matrix, dtype=torch.float32)
    if vectors.ndim == 2 and vectors.shape[0] == feature_channels != vectors.shape[1]:
        vectors = vectors.T
    if vectors.shape != (len(classes), feature_channels):
        raise WeightFileError(
            f"{path} holds vectors {tuple(vectors.shape)} for {len(classes)} classes; expected are "
            f"rows of {feature_channels}, the width of the network's language features"
        )
    known = tuple(classes) == RAW_CLASS_OF_WORD
    return WordVectors(vectors, tuple(int(c) for c in classes), WORDS if known else ())


def _network_tensors(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by names without prefix, and the names of everything else."""
    state = content.get("state_dict", content)
    extra = [name for name in content if state is not content and name != "state_dict"]
    tensors = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            tensors[name.removeprefix(_WRAPPER)] = value
        else:
            extra.append(name)
    return tensors, extra


def _own_tensors(settings: NetworkSettings) -> dict[str, Tensor]:
    with torch.device("meta"):
        return dict(Pop3dNetwork(settings).state_dict())


def _compare_anchors(path: Path, tensors: Mapping[str, Tensor], settings: NetworkSettings) -> None:
    """Refuse weights whose stored anchors are not those of the settings' grid."""
    grid, pillars = settings.grid, settings.encoder.pillars
    own = dict(zip(("3d_hw", "3d_zh", "3d_wz"), anchors(grid, pillars), strict=True))
    own["2d_hw"] = plane_positions(grid)[:, None]
    for name, points in own.items():
        stored = tensors.get(f"{_DERIVED}{name}")
        if stored is None:
            continue
        if stored.shape[1:] != points.shape or not torch.allclose(
            stored[0].float(), points, rtol=0, atol=_ANCHOR_TOLERANCE
        ):
            places = " at other places" if stored.shape[1:] == points.shape else ""
            raise WeightFileError(
                f"{path} was trained on another grid: its anchors ref_{name} are "
                f"{tuple(stored.shape[1:])}, those of settings.network.grid "
                f"{tuple(points.shape)}{places}. Set size_hwz (now {grid.size_hwz}), "
                f"range_min_m, range_max_m and encoder.pillars (now {pillars}) as it was trained"
            )
