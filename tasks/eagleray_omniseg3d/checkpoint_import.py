"""Checkpoints of the original (Lightning ``.ckpt`` and ``_slim.ckpt``) -> our state (spec 9)."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from eagleray.task import ImportedCheckpoint, InputError
from eagleray_omniseg3d.model.field import RadianceField
from eagleray_omniseg3d.model.layers import Mlp, flat_size, unflatten
from eagleray_omniseg3d.model.occupancy import OccupancyGrid
from eagleray_omniseg3d.model.scene_model import SceneModel

_PREFIX = "model."
_NETWORKS = {
    "xyz_encoder": ("geometry_grid",),
    "sigma_net": ("geometry_net",),
    "rgb_net": ("color_net",),
    "sam_encode_net": ("feature_net", "feature_grid"),
}
"""The original's flat vectors and our modules, in the order in which they lie in the vector."""
_BUFFERS = {
    "density_grid": "occupancy.density_grid",
    "density_bitfield": "occupancy.density_bitfield",
}


class CheckpointError(InputError):
    """A checkpoint that is not of this system, or was made with other sizes."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a full or slim checkpoint, without unpickling anything else.

    Raises:
        CheckpointError: The file is missing, damaged or holds other objects than tensors.
    """
    try:
        # Lightning stores the command line beside the weights; a Namespace holds plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights only ({error}); convert the checkpoint with the "
            "original's slim_ckpt first, or check the download"
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return content


def convert(content: Mapping[str, Tensor], model: SceneModel) -> ImportedCheckpoint:
    """Turn the original's entries into our state.

    Args:
        content: Entries by the original's names.
        model: A model of the sizes in the settings; gives shapes only.

    Raises:
        CheckpointError: A vector has another size than the settings give.
    """
    field, grid = model.field, model.occupancy
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
        state["field.box"] = torch.stack([c.float() for c in corners if c is not None])
    wanted = [f"field.{name}" for name in field.state_dict()]
    wanted += [*_BUFFERS.values(), "occupancy.count_grid"]
    missing = tuple(name for name in wanted if name not in state)
    return ImportedCheckpoint(state, mapped, missing, tuple(extra))


def _checked(name: str, value: Tensor, grid: OccupancyGrid) -> Tensor:
    wanted = getattr(grid, name)
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        raise CheckpointError(
            f"{name} is {value.dtype} {tuple(value.shape)}, the settings give {wanted.dtype} "
            f"{tuple(wanted.shape)}; check field.scale and field.grid_size"
        )
    return value


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
    state: dict[str, Tensor] = {}
    start = 0
    for name in _NETWORKS[network]:
        module = getattr(field, name)
        if isinstance(module, Mlp):
            size = flat_size(module.widths)
            parts = unflatten(_cut(vector, start, size, network), module.widths)
            state |= {f"{name}.weights.{i}": part for i, part in enumerate(parts)}
        else:
            size = module.table.numel()
            state[f"{name}.table"] = _cut(vector, start, size, network).reshape(module.table.shape)
        start += size
    if start != vector.numel():
        raise CheckpointError(
            f"{network} has {vector.numel()} parameters, the settings give {start}; check "
            "field.scale, field.log2_table_size, field.num_levels and field.feature_dim"
        )
    return state


def _cut(vector: Tensor, start: int, size: int, network: str) -> Tensor:
    if vector.dim() != 1 or start + size > vector.numel():
        raise CheckpointError(
            f"{network} has {tuple(vector.shape)} parameters, the settings need {start + size} or "
            "more; check field.scale, field.log2_table_size, field.num_levels, field.feature_dim"
        )
    return vector[start : start + size].float()
