"""Checkpoints of the original (Lightning ``.ckpt`` and ``_slim.ckpt``) -> our state."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eagleray.task import ImportedCheckpoint, InputError
from eagleray_omniseg3d.model.field import RadianceField
from eagleray_omniseg3d.model.layers import (
    FlatWeights,
    HashGrid,
    Mlp,
    first_weight_bound,
    flat_size,
    padded,
    unflatten,
)
from eagleray_omniseg3d.model.occupancy import OccupancyGrid
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_vision.weights.tensors import WeightFileError, read_tensors, require_plain

_PREFIX = "model."
_NETWORKS = {
    "xyz_encoder": ("geometry_grid",),
    "sigma_net": ("geometry_net",),
    "rgb_net": ("color_net",),
    "sam_encode_net": ("feature_net", "feature_grid"),
}
"""The original's flat vectors and our modules, in the order in which they lie in the vector."""
_ENCODED = ("sam_encode_net",)
"""Networks whose inputs are a hash grid's outputs: tiny-cuda-nn pads those with zeros, and the
inputs of all other networks with ones."""
_BUFFERS = {
    "density_grid": "occupancy.density_grid",
    "density_bitfield": "occupancy.density_bitfield",
}


class CheckpointError(InputError):
    """A checkpoint that is not of this system, or was made with other sizes."""


@dataclass(frozen=True, slots=True)
class OriginalCheckpoint:
    """What a checkpoint of the original holds.

    Args:
        tensors: Entries by the original's names.
        flags: Its command line by name; empty in slim checkpoints.
    """

    tensors: Mapping[str, Tensor]
    flags: Mapping[str, Any]


def read_checkpoint(path: Path) -> OriginalCheckpoint:
    """Return the tensors and flags of a full or slim checkpoint, without unpickling anything else.

    Raises:
        CheckpointError: The file is missing, damaged or holds other objects than tensors.
    """
    try:
        # Lightning stores the command line beside the weights; a Namespace holds plain values.
        content = read_tensors(path, more_types=[argparse.Namespace])
        tensors = content.get("state_dict", content)
        if isinstance(tensors, Mapping):
            require_plain(path, tensors)
    except WeightFileError as error:
        raise CheckpointError(
            f"{error}; or convert the checkpoint with the original's slim_ckpt first"
        ) from error
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    flags = content.get("hyper_parameters", {})
    flags = vars(flags) if isinstance(flags, argparse.Namespace) else flags
    return OriginalCheckpoint(tensors, flags if isinstance(flags, Mapping) else {})


def convert(checkpoint: OriginalCheckpoint, model: SceneModel) -> ImportedCheckpoint:
    """Turn the original's entries into our state.

    Args:
        checkpoint: What the original wrote.
        model: A model of the sizes in the settings; gives shapes only.

    Raises:
        CheckpointError: It was made with another scale, feature width or other sizes than the
            settings give.
    """
    field, grid, content = model.field, model.occupancy, checkpoint.tensors
    _require_same_settings(checkpoint, model)
    state: dict[str, Tensor] = {}
    mapped: dict[str, str] = {}
    extra = []
    for key, value in content.items():
        name = key.removeprefix(_PREFIX)
        network = name.removesuffix(".params")
        if network in _NETWORKS and name.endswith(".params"):
            found = {f"field.{k}": v for k, v in network_state(network, value, field).items()}
            state |= found
            mapped[key] = ", ".join(found)
        elif name in _BUFFERS:
            state[_BUFFERS[name]] = _checked(name, value, grid)
            mapped[key] = _BUFFERS[name]
        elif name in ("aabb_min", "aabb_max"):
            mapped[key] = "field.box"
        else:
            extra.append(key)
    corners = [content.get(f"{_PREFIX}aabb_{end}") for end in ("min", "max")]
    if all(corner is not None for corner in corners):
        state["field.box"] = torch.stack([_corner(c) for c in corners if c is not None])
    wanted = [f"field.{name}" for name in field.state_dict()]
    wanted += [*_BUFFERS.values(), "occupancy.count_grid"]
    missing = tuple(name for name in wanted if name not in state)
    return ImportedCheckpoint(state, mapped, missing, tuple(extra))


def _corner(value: Tensor) -> Tensor:
    if value.shape != (3,):
        raise CheckpointError(
            f"aabb_min and aabb_max are three numbers each, found {tuple(value.shape)}; the file "
            "is no checkpoint of OmniSeg3D"
        )
    return value.float()


def _checked(name: str, value: Tensor, grid: OccupancyGrid) -> Tensor:
    wanted = getattr(grid, name)
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        raise CheckpointError(
            f"{name} is {value.dtype} {tuple(value.shape)}, the settings give {wanted.dtype} "
            f"{tuple(wanted.shape)}; check field.scale and field.grid_size"
        )
    return value


def _require_same_settings(checkpoint: OriginalCheckpoint, model: SceneModel) -> None:
    """Compare what the flat vectors cannot tell: the scene's scale, and a width below padding."""
    wanted = {"scale": model.field.scale, "semantic_dim": float(model.settings.feature_dim)}
    names = {"scale": "field.scale", "semantic_dim": "field.feature_dim"}
    try:
        stored = {n: float(checkpoint.flags[n]) for n in wanted if n in checkpoint.flags}
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f"the checkpoint's command line holds no number for one of {', '.join(wanted)} "
            f"({error}); convert it with the original's slim_ckpt"
        ) from error
    half_size = checkpoint.tensors.get(f"{_PREFIX}half_size")
    if half_size is not None and half_size.numel():
        stored["scale"] = float(half_size.max())
    for name, value in stored.items():
        if not math.isclose(value, wanted[name], rel_tol=1e-4):
            raise CheckpointError(
                f"the checkpoint was made with {name} {value:g}, the settings have "
                f"{names[name]} {wanted[name]:g}; set {names[name]}: {value:g}"
            )


def field_state(flat: Mapping[str, Tensor], field: RadianceField) -> dict[str, Tensor]:
    """Return a field's state from the original's flat vectors by network name."""
    state: dict[str, Tensor] = {}
    for network, vector in flat.items():
        state |= network_state(network, vector, field)
    return state


def network_state(network: str, vector: Tensor, field: RadianceField) -> dict[str, Tensor]:
    """Cut one flat vector of the original into our parameters.

    Args:
        network: Name in the original (``xyz_encoder``, ``sigma_net``, ``rgb_net``,
            ``sam_encode_net``).
        vector: Its flat parameters; of ``sam_encode_net`` first the network, then the grid.
        field: Gives the shapes.

    Raises:
        CheckpointError: The vector has another size.
    """
    modules = {name: getattr(field, name) for name in _NETWORKS[network]}
    table_size = sum(m.table.numel() for m in modules.values() if isinstance(m, HashGrid))
    weight_size = vector.numel() - table_size
    widths = [module.widths for module in modules.values() if isinstance(module, Mlp)]
    with_padding = sum(flat_size(w) for w in widths)
    # Inputs of no multiple of 16 (levels of no multiple of 8): tiny-cuda-nn's own vectors hold
    # weights of padding inputs, those of the published layout do not. The length tells which.
    without = with_padding - sum((padded(w[0]) - w[0]) * w[1] for w in widths)
    if vector.dim() != 1 or weight_size not in (with_padding, without):
        raise CheckpointError(
            f"{network} has {tuple(vector.shape)} parameters, the settings give "
            f"{table_size + with_padding}; check field.scale, field.log2_table_size, "
            "field.num_levels and field.feature_dim"
        )
    state: dict[str, Tensor] = {}
    weights, table = vector[:weight_size].float(), vector[weight_size:].float()
    for name, module in modules.items():
        if isinstance(module, Mlp):
            flat = unflatten(weights, module.widths, pad_inputs=weight_size == with_padding)
            _require_no_hidden_weights(network, flat, module.widths)
            state |= {f"{name}.weights.{i}": part for i, part in enumerate(flat.matrices)}
        else:
            state[f"{name}.table"] = table.reshape(module.table.shape)
    return state


def _require_no_hidden_weights(network: str, flat: FlatWeights, widths: tuple[int, ...]) -> None:
    """Refuse weights that have an effect in tiny-cuda-nn, or were trained, and have no place here.

    Padding outputs get no gradient, so they stay within the bound that they began in: larger ones
    belong to features.
    """
    if network not in _ENCODED and bool(flat.padded_columns.any()):
        raise CheckpointError(
            f"{network} has weights for {flat.padded_columns.shape[1]} padding inputs, which "
            "tiny-cuda-nn feeds with ones; such a bias has no place here: take field.num_levels of "
            "a multiple of 8 in the original"
        )
    bound = first_weight_bound(widths[-2], widths[-1], is_last=True)
    if network in _ENCODED and bool((flat.padded_rows.abs() > bound * 1.001).any()):
        raise CheckpointError(
            f"{network} was trained with more than {widths[-1]} outputs; check field.feature_dim"
        )
