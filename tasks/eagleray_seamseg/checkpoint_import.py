"""Import snapshots of the original code, whose parameter names and raw values are ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eagleray.task import ImportedCheckpoint
from eagleray_seamseg.fine_tuning import CLASS_HEADS
from eagleray_seamseg.model.config import NetworkSettings
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.weights.accounting import check_shapes, imported_checkpoint
from eagleray_vision.weights.tensors import WeightFileError, read_tensors

MODULES = ("body", "rpn_head", "roi_head", "sem_head")
"""Parts of a snapshot's ``state_dict`` that hold the network."""

_NUM_NAMED = 5
"""How many tensors an error message names."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of the original, or a flat dictionary of tensors by full name.

    Attributes:
        path: Its file.
        entries: Everything in it by flat names; tensors of the network by their full name.
        config: Text of the configuration that it was trained with, if it holds one.
    """

    path: Path
    entries: Mapping[str, object]
    config: str | None

    @property
    def modules(self) -> tuple[str, ...]:
        """Which of the network's four parts it holds."""
        return tuple(m for m in MODULES if any(name.startswith(f"{m}.") for name in self.entries))

    @property
    def num_classes(self) -> tuple[int, int]:
        """Stuff and thing classes that its heads tell; without a semantic head there is no stuff.

        Raises:
            WeightFileError: There is neither of the two heads.
        """
        things = self._length("roi_head.roi_msk.bias") or self._length("roi_head.roi_cls.bias", -1)
        both = self._length("sem_head.conv_sem.bias")
        if not things and not both:
            raise WeightFileError(
                f"{self.path} holds no tensor of a Seamless network's heads; its entries begin "
                f"with {sorted(self.entries)[:_NUM_NAMED]}. Expected is a snapshot of the "
                f"original, with {', '.join(MODULES)} under state_dict; for a part of a network, "
                "give an experiment (.yaml) instead of the task"
            )
        return (max(both - things, 0), things)

    def _length(self, name: str, more: int = 0) -> int:
        value = self.entries.get(name)
        return value.shape[0] + more if isinstance(value, Tensor) and value.ndim else 0


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot as plain data.

    Args:
        path: File of ``torch.save`` or safetensors.

    Raises:
        WeightFileError: If it cannot be read without running what it may contain.
    """
    content = read_tensors(path)
    config = content.get("config")
    return Snapshot(path, _flat_entries(content), config if isinstance(config, str) else None)


def _flat_entries(content: Mapping[str, object]) -> dict[str, object]:
    """Return a snapshot's entries by flat names; tensors of the network by their full name."""
    states = content.get("state_dict")
    if not isinstance(states, Mapping):
        return dict(content)
    entries = {name: value for name, value in content.items() if name != "state_dict"}
    for name, value in states.items():
        if name in MODULES and isinstance(value, Mapping):
            entries.update({f"{name}.{key}": tensor for key, tensor in value.items()})
        else:
            entries[name if "." in name else f"state_dict.{name}"] = value
    return entries


def _shape_hint(tensors: Mapping[str, Tensor], network: SeamlessNetwork) -> str:
    """Say what a file of other shapes was trained on, where its heads tell."""
    classes = ""
    if "sem_head.conv_sem.bias" in tensors and "roi_head.roi_msk.bias" in tensors:
        classes = (
            f"The file was trained on {CLASS_HEADS.describe(tensors)}, the network has "
            f"{network.num_stuff} and {network.num_thing}. "
        )
    return f"{classes}Use the settings and classes that the file was trained with"


def import_snapshot(
    path: Path, settings: NetworkSettings, *, num_stuff: int, num_thing: int
) -> ImportedCheckpoint:
    """Read a snapshot of the original (``{config, state_dict, training_meta}``).

    The values are copied: normalization weights stay raw, since the network scales by |w| + eps
    itself. Files with and without ``num_batches_tracked`` are accepted, and so is a flat dictionary
    of tensors by full name.

    Args:
        path: File of ``torch.save`` or safetensors. It is only read as plain data; a file that
            needs more is refused.
        settings: Settings of the network that the weights are for.
        num_stuff: Its stuff classes.
        num_thing: Its thing classes.

    Returns:
        The weights by our names, and every entry of the file as mapped or extra (optimizer,
        meters, ...). ``missing`` lists the network's tensors that the file lacks.

    Raises:
        WeightFileError: If the file cannot be read safely, holds nothing of the network, or holds
            tensors of other shapes.
    """
    return convert_snapshot(read_snapshot(path), settings, num_stuff=num_stuff, num_thing=num_thing)


def convert_snapshot(
    snapshot: Snapshot, settings: NetworkSettings, *, num_stuff: int, num_thing: int
) -> ImportedCheckpoint:
    """Account for every entry of a snapshot; see `import_snapshot`."""
    path, entries = snapshot.path, snapshot.entries
    with torch.device("meta"):
        network = SeamlessNetwork(settings, num_stuff=num_stuff, num_thing=num_thing)
    own = network.state_dict()
    tensors = {
        name: value for name, value in entries.items() if name in own and isinstance(value, Tensor)
    }
    if not tensors:
        raise WeightFileError(
            f"{path} holds no tensor of a Seamless network; its entries begin with "
            f"{sorted(entries)[:_NUM_NAMED]}. Expected is a snapshot of the original, with "
            f"{', '.join(MODULES)} under state_dict"
        )
    names = {name: name for name in tensors}
    check_shapes(path, tensors, names, own, _shape_hint(tensors, network))
    return imported_checkpoint(tensors, names, own, sorted(set(entries) - set(tensors)))
