"""Import of published weights: OPS, SAN for the part that both share, and CLIP alone.

Every tensor of a file is mapped or the file is refused. What a file may lack is a whole part: the
deformable blocks (SAN has none) or everything beside CLIP. CLIP itself is never missing: the
original would run with random weights then (docs/originals/ops.md 12.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from eagleray.task import ImportedCheckpoint, PublishedFiles, SettingsError
from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.network import CLIP_PREFIX, OpsNetwork, named_architecture
from eagleray_ops.model.original_names import ADAPTER, IMAGE, RECOGNITION, TEXT, our_name
from eagleray_ops.model.words import clip_form
from eagleray_vision.clip.architecture import ClipArchitecture, read_architecture
from eagleray_vision.clip.reading import read_clip
from eagleray_vision.weights.accounting import check_shapes, imported_checkpoint
from eagleray_vision.weights.foreign_checkpoint import read_foreign_checkpoint
from eagleray_vision.weights.tensors import WeightFileError, state_tensors
from eagleray_vision.weights.torchscript import is_torchscript

_STATE = "state_dict"
_PREFIXES = (ADAPTER, RECOGNITION, IMAGE, TEXT)
_DAO = ("adapter.dao_before.", "adapter.dao_after.")
_OPENAI_MODELS = ("ViT-B-16-quickgelu", "ViT-B-32-quickgelu", "ViT-L-14-quickgelu")
_OPENAI_336 = "ViT-L-14-336-quickgelu"
_SCALE_336 = 0.7
"""Size of CLIP's input in SAN's configuration with the 336-pixel CLIP."""
_NUM_NAMED = 5
"""How many tensors an error message names."""


@dataclass(frozen=True)
class OriginalCheckpoint:
    """Weights of OPS, SAN or CLIP.

    Attributes:
        path: The file.
        tensors: By the file's names, in the shapes that our network has.
        names: Our name of each of them; None where there is none.
        others: Names of everything else in the file.
        split: Blocks of CLIP in front of the last feature; 0 for a CLIP alone.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str | None]
    others: tuple[str, ...]
    split: int

    def of_clip(self) -> dict[str, Tensor]:
        """Return CLIP's tensors by open_clip's names."""
        return {
            ours.removeprefix(CLIP_PREFIX): self.tensors[name]
            for name, ours in self.names.items()
            if ours is not None and ours.startswith(CLIP_PREFIX)
        }

    def of_adapter(self) -> dict[str, Tensor]:
        """Return the adapter's tensors by our names below ``adapter.``."""
        return {
            ours.removeprefix("adapter."): self.tensors[name]
            for name, ours in self.names.items()
            if ours is not None and ours.startswith("adapter.")
        }


def read_checkpoint(path: Path) -> OriginalCheckpoint:
    """Read published weights as plain tensors.

    Args:
        path: A checkpoint of OPS or of SAN in mmsegmentation's names (a dictionary with
            ``state_dict``, or tensors by name), the converted CLIP that they begin with, or a CLIP
            of OpenAI or open_clip.

    Raises:
        WeightFileError: It is damaged, hostile, or nothing of these.
    """
    if is_torchscript(path):
        return _read_clip_alone(path)
    tensors, others = state_tensors(path, read_foreign_checkpoint(path), _STATE)
    if any(name.endswith("visual.conv1.weight") for name in tensors):
        return _read_clip_alone(path)
    return named_checkpoint(path, tensors, others)


def named_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], others: Sequence[str] = ()
) -> OriginalCheckpoint:
    """Give tensors of OPS or SAN our names and shapes.

    Args:
        path: The file, for messages.
        tensors: Its tensors.
        others: Names of what is in the file besides.

    Raises:
        WeightFileError: None of the names is one of OPS.
    """
    if not any(name.startswith(_PREFIXES) for name in tensors):
        raise WeightFileError(
            f"{path} is no checkpoint of OPS or SAN and no CLIP: its tensors begin with "
            f"{sorted(tensors)[:_NUM_NAMED]}, expected are names below {', '.join(_PREFIXES)}"
        )
    blocks = {name.split(".")[2] for name in tensors if name.startswith(f"{IMAGE}layers.")}
    return OriginalCheckpoint(
        path,
        {name: _reshaped(name, value) for name, value in tensors.items()},
        {name: our_name(name, len(blocks)) for name in tensors},
        tuple(others),
        len(blocks),
    )


def _read_clip_alone(path: Path) -> OriginalCheckpoint:
    tensors = read_clip(path).model.state_dict()
    names: dict[str, str | None] = {name: CLIP_PREFIX + name for name in tensors}
    return OriginalCheckpoint(path, tensors, names, (), 0)


def _reshaped(name: str, value: Tensor) -> Tensor:
    """Undo what the original's conversion of CLIP changes in shapes."""
    if name == f"{RECOGNITION}proj.weight":
        return value.mT.contiguous() if value.ndim == 2 else value
    if name in (f"{IMAGE}cls_token", f"{IMAGE}pos_embed"):
        while value.ndim and value.shape[0] == 1:
            value = value[0]
    return value


def convert_checkpoint(
    checkpoint: OriginalCheckpoint, clip: ClipSettings, adapter: AdapterSettings
) -> ImportedCheckpoint:
    """Account for every tensor of a file, for a given network.

    Args:
        checkpoint: What was read.
        clip: Settings of the network's CLIP.
        adapter: Settings of its adapter.

    Returns:
        The weights by our names; ``missing`` lists the deformable blocks for a file of SAN, and
        all of the adapter for a CLIP alone.

    Raises:
        SettingsError: CLIP is divided elsewhere than the settings say.
        WeightFileError: A tensor is unknown or has another shape, CLIP is not whole, or a part of
            the adapter is.
    """
    form = clip_form(clip)
    with torch.device("meta"):
        network = OpsNetwork(clip, adapter, form, faithful=True)
    if checkpoint.split not in (0, network.feature_blocks[-1]):
        raise SettingsError(
            f"{checkpoint.path} divides CLIP behind {checkpoint.split} blocks, these settings "
            f"behind {network.feature_blocks[-1]}: set clip.features_after so that it ends with "
            f"{checkpoint.split}"
        )
    own = network.state_dict()
    unknown = [name for name, ours in checkpoint.names.items() if ours not in own]
    if unknown:
        raise WeightFileError(
            f"{checkpoint.path}: {len(unknown)} of {len(checkpoint.names)} tensors are unknown to "
            f"this network ({', '.join(unknown[:_NUM_NAMED])}); check that adapter and clip are "
            "those that the file was trained with, or import it without an experiment, which reads "
            "them off the file"
        )
    names = {name: ours for name, ours in checkpoint.names.items() if ours is not None}
    _refuse_holes(checkpoint.path, set(own) - set(names.values()), set(own))
    hint = "Use the settings that the file was trained with, or import it without an experiment"
    check_shapes(checkpoint.path, checkpoint.tensors, names, own, hint)
    return imported_checkpoint(checkpoint.tensors, names, own, checkpoint.others)


def _refuse_holes(path: Path, missing: set[str], own: set[str]) -> None:
    """Allow that a whole part of the network is not in a file, and nothing else."""
    of_clip = sorted(name for name in missing if name.startswith(CLIP_PREFIX))
    if of_clip:
        raise WeightFileError(
            f"{path} lacks {len(of_clip)} tensors of CLIP ({', '.join(of_clip[:_NUM_NAMED])}), "
            "without which no class can be named: take a checkpoint that holds CLIP, as the "
            "published ones do"
        )
    beside = {name for name in own if not name.startswith(CLIP_PREFIX)}
    blocks = {name for name in own if name.startswith(_DAO)}
    if missing not in (set(), blocks, beside):
        holes = sorted(missing - blocks) or sorted(missing)
        raise WeightFileError(
            f"{path} lacks {len(missing)} tensors ({', '.join(holes[:_NUM_NAMED])}); a file may "
            "lack all deformable blocks (SAN) or all of the adapter (CLIP), not some of them: "
            "download it again, or set adapter to what it was trained with"
        )


def import_original(path: Path) -> PublishedFiles:
    """Import a file together with the settings that its tensors tell.

    Args:
        path: See `read_checkpoint`.

    Raises:
        SettingsError: The sizes in the file fit no network of ours.
        WeightFileError: See `read_checkpoint` and `convert_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    form = read_architecture(checkpoint.of_clip(), quick_gelu=True, source=str(path))
    clip = _clip_values(form, path)
    adapter = _adapter_values(checkpoint.of_adapter(), path)
    try:
        form_of_adapter = AdapterSettings.model_validate(adapter)
    except ValidationError as error:
        raise WeightFileError(
            f"{path} holds an adapter of sizes that do not fit each other ({error}); heads cannot "
            "be read off a file: write an experiment with the settings that it was trained with"
        ) from error
    weights = convert_checkpoint(checkpoint, ClipSettings.model_validate(clip), form_of_adapter)
    settings = {part: values for part, values in (("clip", clip), ("adapter", adapter)) if values}
    notes = ["evaluation and prediction need this file alone; to train, set clip.weights to CLIP's"]
    if weights.missing:
        what = "deformable blocks" if checkpoint.of_adapter() else "side adapter"
        notes.append(
            f"the {what} ({len(weights.missing)} tensors) are not in the file and begin at random: "
            "name the weights in train.init_from, and train before anything else"
        )
    return PublishedFiles(weights, {"task": "ops", "settings": settings}, notes=tuple(notes))


def _clip_values(form: ClipArchitecture, path: Path) -> dict[str, Any]:
    """Return what the shapes tell of ``settings.clip``."""
    for name in (*_OPENAI_MODELS, _OPENAI_336):
        if named_architecture(name) == form:
            scale = {"image_scale": _SCALE_336} if name == _OPENAI_336 else {}
            return {"model": name, **scale}
    raise SettingsError(
        f"{path} holds a CLIP of {form.layers} blocks of {form.width} channels with patches of "
        f"{form.patch_size} px, which none of OpenAI's is: write an experiment whose clip.weights "
        "names that CLIP, with an empty clip.model, and import the file for it"
    )


def _adapter_values(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return what the shapes tell of ``settings.adapter``, where it is not the default."""
    if not tensors:
        return {}

    def size(name: str, axis: int) -> int:
        tensor = tensors.get(name)
        if tensor is None or tensor.ndim <= axis:
            raise WeightFileError(
                f"{path}: adapter.{name} is missing or has no axis {axis}, so that the form of the "
                "adapter cannot be read off the file; take it as it was published"
            )
        return tensor.shape[axis]

    width, layers = size("positions", 2), _count(tensors, "layers.")
    side = isqrt(size("positions", 1))
    decoder = size("mask_decoder.query_mlp.layers.0.bias", 0)
    depth = len({name for name in tensors if name.startswith("mask_decoder.query_mlp.")}) // 2
    biases = size(f"mask_decoder.bias_mlp.layers.{depth - 1}.bias", 0)
    found: dict[str, Any] = {
        "width": width,
        "layers": layers,
        "mlp_ratio": size("layers.0.expand.bias", 0) / width,
        "queries": size("queries", 1),
        "patch_px": size("patches.weight", 3),
        "grid": (side, side),
        "fusion_layers": tuple(range(_count(tensors, "fusions."))),
        "decoder_width": decoder,
        "decoder_layers": depth,
        "bias_heads": "one" if biases == decoder else "all",
        "supervised_layers": (layers - 1,) if layers > 1 else (),
        "dao": _dao_values(tensors),
    }
    defaults = AdapterSettings().model_dump()
    return {name: value for name, value in found.items() if value != defaults[name]}


def _dao_values(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the form of the deformable blocks; that of the defaults for a file without any."""
    values = AdapterSettings().dao.model_dump()
    places = {
        place: tuple(sorted({int(n.split(".")[1]) for n in tensors if n.startswith(f"{part}.")}))
        for place, part in (("before_fusion", "dao_before"), ("after_fusion", "dao_after"))
    }
    first = next((n for n in tensors if n.endswith(".convolution.depthwise.weight")), None)
    if first is None:
        return values
    block = first.removesuffix("depthwise.weight")
    gate = tensors.get(f"{block}center.bias")
    groups = values["groups"] if gate is None else gate.shape[0]
    points = tensors[f"{block}weights.bias"].shape[0] // groups
    return {
        **values,
        **places,
        "groups": groups,
        "kernel": isqrt(points),
        "depthwise_kernel": tensors[first].shape[-1],
        "center_scale": gate is not None,
    }


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith(prefix)})
