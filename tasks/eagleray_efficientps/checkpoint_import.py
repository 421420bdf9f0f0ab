"""Import the original's checkpoints: every tensor is mapped, or on the list of known leftovers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eagleray.task import ImportedCheckpoint
from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.model.original_names import our_name
from eagleray_vision.weights.accounting import check_shapes, imported_checkpoint
from eagleray_vision.weights.tensors import WeightFileError, read_tensors, state_tensors

STATE, META, OPTIMIZER = "state_dict", "meta", "optimizer"
"""Entries of a published checkpoint."""

_CLASS_NAMES = "CLASSES"
_NUM_NAMED = 5
"""How many tensors an error message names."""


@dataclass(frozen=True)
class OriginalCheckpoint:
    """A checkpoint of the original.

    Attributes:
        path: Its file.
        tensors: Tensors of the network by the original's names.
        others: Names of everything else in the file.
        class_names: Class names that it states, thing classes as a rule.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    others: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> tuple[int, int]:
        """Stuff and thing classes that its heads tell.

        Raises:
            WeightFileError: One of the two heads is missing.
        """
        both = self.tensors.get("semantic_head.conv_logits.bias")
        things = self.tensors.get("mask_head.conv_logits.bias")
        if both is None or things is None:
            raise WeightFileError(
                f"{self.path} holds no semantic_head.conv_logits or no mask_head.conv_logits, so "
                f"it is no checkpoint of EfficientPS; its tensors begin with "
                f"{sorted(self.tensors)[:_NUM_NAMED]}"
            )
        num_things = things.numel() - 1
        num_stuff = both.numel() - num_things
        if num_things < 0 or num_stuff < 0:
            raise WeightFileError(
                f"{self.path}: the heads' biases have {both.numel()} (semantic) and "
                f"{things.numel()} entries (masks); expected are all classes, and the things with "
                "the background, so this is no checkpoint of EfficientPS"
            )
        return (num_stuff, num_things)


def read_checkpoint(path: Path) -> OriginalCheckpoint:
    """Read a checkpoint as plain tensors.

    Args:
        path: File of ``torch.save`` or safetensors: a dictionary with ``state_dict``, or of tensors
            by name.

    Raises:
        WeightFileError: It cannot be read without running what it may contain.
    """
    content = read_tensors(path)
    tensors, others = state_tensors(path, content, STATE)
    return OriginalCheckpoint(path, tensors, others, _class_names(content.get(META)))


def _class_names(meta: object) -> tuple[str, ...]:
    names = meta.get(_CLASS_NAMES, ()) if isinstance(meta, Mapping) else ()
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def import_checkpoint(
    path: Path, settings: NetworkSettings, *, num_stuff: int, num_thing: int
) -> ImportedCheckpoint:
    """Read a checkpoint of the original for a given network; see `convert_checkpoint`."""
    return convert_checkpoint(
        read_checkpoint(path), settings, num_stuff=num_stuff, num_thing=num_thing
    )


def convert_checkpoint(
    checkpoint: OriginalCheckpoint, settings: NetworkSettings, *, num_stuff: int, num_thing: int
) -> ImportedCheckpoint:
    """Account for every entry of a checkpoint.

    The values are copied: normalization weights stay raw, since the network scales by |w| + eps
    itself.

    Args:
        checkpoint: What was read.
        settings: Settings of the network that the weights are for.
        num_stuff: Its stuff classes.
        num_thing: Its thing classes.

    Returns:
        The weights by our names; counters of batches, optimizer and notes as extra; ``missing``
        lists the network's tensors that the file lacks.

    Raises:
        WeightFileError: A tensor is unknown, or has another shape than the network's.
    """
    with torch.device("meta"):
        network = EfficientPsNetwork(settings, num_stuff=num_stuff, num_thing=num_thing)
    ours = network.state_dict()
    mapped: dict[str, str] = {}
    leftovers, unknown = list(checkpoint.others), []
    for original in checkpoint.tensors:
        name = our_name(original)
        if name is None:
            leftovers.append(original)
        elif name in ours:
            mapped[original] = name
        else:
            unknown.append(original)
    if unknown:
        raise WeightFileError(
            f"{checkpoint.path}: {len(unknown)} of {len(checkpoint.tensors)} tensors are unknown "
            f"to this network ({', '.join(unknown[:_NUM_NAMED])}); check that the file is a "
            "checkpoint of EfficientPS and that network.backbone, network.pyramid and "
            "network.semantic are those that it was trained with"
        )
    hint = "Use the network settings and the class list that the file was trained with"
    check_shapes(checkpoint.path, checkpoint.tensors, mapped, ours, hint)
    return imported_checkpoint(checkpoint.tensors, mapped, ours, leftovers)
