"""What the original publishes, as an experiment of ours: a checkpoint, or the published archive.

Its configurations are Python files, which would have to be run to be read; they are refused. What
the weights need to know of them is told by the weights' own names and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from eagleray.task import ImportedCheckpoint, PublishedFiles, SettingsError
from eagleray_efficientps.checkpoint_import import (
    OriginalCheckpoint,
    convert_checkpoint,
    import_checkpoint,
    read_checkpoint,
)
from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.efficientnet import HEAD_CHANNELS, SCALINGS, round_channels
from eagleray_efficientps.settings import PRESETS
from eagleray_vision.panoptic.label_space import CITYSCAPES, LabelSpace
from eagleray_vision.weights.archive import weight_file
from eagleray_vision.weights.tensors import WeightFileError

_CONFIG_SUFFIX = ".py"
_HEAD = "backbone.conv_head.weight"
_DENSE_OUTPUT = "neck.fpn_convs.0.conv.weight"
_PRESET_WORDS = ("kitti", "idd", "vistas")


def import_original(path: Path) -> PublishedFiles:
    """Import a file of the original by its kind.

    Args:
        path: A checkpoint (``.pth``), the published zip archive or the folder that it was unpacked
            into.

    Returns:
        The weights, and an experiment for the network that they tell of.

    Raises:
        SettingsError: It is a configuration of the original.
        WeightFileError: The archive or the weights are damaged or unsafe, or unknown tensors are in
            them.
    """
    _refuse_configuration(path)
    with weight_file(path) as weights:
        checkpoint = read_checkpoint(weights)
        network = network_values(checkpoint)
        num_stuff, num_thing = checkpoint.num_classes
        found = convert_checkpoint(
            checkpoint,
            NetworkSettings.model_validate(network),
            num_stuff=num_stuff,
            num_thing=num_thing,
        )
    if (num_stuff, num_thing) != (CITYSCAPES.num_stuff, CITYSCAPES.num_things):
        note = (
            f"the weights have {num_stuff} stuff and {num_thing} thing classes, but not their "
            "names: write an experiment with a data set of these classes, and set its network "
            f"to {network}"
        )
        return PublishedFiles(found, notes=(note,))
    preset = _preset(path)
    experiment = {"task": "efficientps", "settings": {"preset": preset, "network": network}}
    note = (
        f"preset {preset}: prediction on your own files works at once; to evaluate or train, name "
        "the folder of the data set in data.root"
    )
    return PublishedFiles(found, experiment, notes=(note,))


def import_weights(path: Path, settings: NetworkSettings, space: LabelSpace) -> ImportedCheckpoint:
    """Import the weights of a checkpoint, or of the published archive, for a given network.

    Args:
        path: The file.
        settings: The network.
        space: Its class list.

    Raises:
        SettingsError: It is a configuration.
        WeightFileError: See `eagleray_efficientps.checkpoint_import.convert_checkpoint`.
    """
    _refuse_configuration(path)
    with weight_file(path) as weights:
        return import_checkpoint(
            weights, settings, num_stuff=space.num_stuff, num_thing=space.num_things
        )


def network_values(checkpoint: OriginalCheckpoint) -> dict[str, Any]:
    """Return what the weights tell of ``settings.network``.

    Raises:
        WeightFileError: The width of the backbone is none that there is.
    """
    tensors: Mapping[str, Tensor] = checkpoint.tensors
    sizes = {round_channels(HEAD_CHANNELS * width): name for name, (width, _) in SCALINGS.items()}
    found = tensors[_HEAD].shape[0] if _HEAD in tensors and tensors[_HEAD].ndim else 0
    if found not in sizes:
        raise WeightFileError(
            f"{checkpoint.path}: {_HEAD} has {found} channels; the backbones that there are have "
            f"{', '.join(f'{size} ({name})' for size, name in sizes.items())}"
        )
    output = "dense" if _DENSE_OUTPUT in tensors else "separable"
    return {"backbone": {"name": sizes[found]}, "pyramid": {"output_conv": output}}


def _refuse_configuration(path: Path) -> None:
    if path.suffix == _CONFIG_SUFFIX:
        raise SettingsError(
            f"{path} is a configuration of the original, a Python program, which would have to be "
            "run to be read: write an experiment instead, with the preset of its data set "
            f"({', '.join(PRESETS)}) and what it changes; for its weights give the .pth or .zip "
            "file"
        )


def _preset(path: Path) -> str:
    name = path.name.lower()
    return next((word for word in _PRESET_WORDS if word in name), "cityscapes")
