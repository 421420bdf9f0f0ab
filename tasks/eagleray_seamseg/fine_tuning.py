"""Weights of another class list: which tensors depend on the classes, and what becomes of them.

Tensors of the heads that hold one row per class begin afresh together as soon as one of them has
another shape: the class list is another one then, and no row may be taken for a class by its
position alone. Where both class lists are known, rows can be kept by the names of their classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from eagleray.task import FittedWeights, SettingsError
from eagleray_seamseg.intermediate.metadata import read_metadata
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.panoptic.coco_panoptic import read_coco_panoptic
from eagleray_vision.panoptic.errors import PanopticError
from eagleray_vision.panoptic.label_space import (
    CITYSCAPES,
    LabelSpace,
    label_space_from_coco,
    label_space_from_vistas,
)

_NUM_NAMED = 5
"""How many tensors or classes an error message names."""

_ROI_CLASSES, _ROI_BOXES, _ROI_MASKS = "roi_head.roi_cls.", "roi_head.roi_bbx.", "roi_head.roi_msk."
_BOX_ROWS = 4
"""Rows per thing of the box codes: dy, dx, dh, dw (spec 1.10)."""


def read_class_list(source: str) -> LabelSpace:
    """Read the class list of a checkpoint.

    Args:
        source: ``cityscapes``, or a file: ``metadata.bin`` of the original's format, the
            configuration of Mapillary Vistas, or a COCO panoptic JSON.

    Raises:
        SettingsError: The file is missing or no class list.
    """
    path = Path(source)
    if source == "cityscapes":
        return CITYSCAPES
    try:
        if path.suffix == ".bin":
            return read_metadata(path).space
        content = json.loads(path.read_text())
        if isinstance(content, Mapping) and "labels" in content:
            return label_space_from_vistas(path)
        return label_space_from_coco(path.stem, read_coco_panoptic(path).categories)
    except (PanopticError, OSError, ValueError) as error:
        raise SettingsError(
            f"init_class_list {source!r} is no class list ({error}); give 'cityscapes', a "
            "metadata.bin, the config.json of Vistas or a COCO panoptic JSON"
        ) from error


def class_tensors(network: SeamlessNetwork) -> tuple[str, ...]:
    """Return the names of the tensors whose shapes depend on the numbers of classes."""
    with torch.device("meta"):
        other = SeamlessNetwork(
            network.settings, num_stuff=network.num_stuff + 1, num_thing=network.num_thing + 1
        )
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    return tuple(name for name, v in network.state_dict().items() if v.shape != shapes[name])


def fit_to_classes(
    network: SeamlessNetwork,
    weights: Mapping[str, Tensor],
    space: LabelSpace,
    source: LabelSpace | None = None,
) -> FittedWeights:
    """Make weights of another class list fit a network.

    Args:
        network: The network that they are for; not changed.
        weights: Tensors by name.
        space: Its class list.
        source: Class list of the weights, if rows are to be kept by class names.

    Returns:
        The weights that can be loaded, and the tensors that begin afresh with the reason.

    Raises:
        SettingsError: A tensor that has nothing to do with the classes has another shape, or
            ``source`` is not the class list of the weights.
    """
    own = network.state_dict()
    wrong = [k for k, v in weights.items() if k in own and own[k].shape != v.shape]
    dependent = [name for name in class_tensors(network) if name in weights]
    _refuse_other_shapes([name for name in wrong if name not in dependent], own, weights)
    if source is not None:
        rows = _RowMap(source, space)
        rows.check(dependent, weights)
        kept_rows = {name: rows.carried(name, weights[name], own[name]) for name in dependent}
        return FittedWeights({**weights, **kept_rows}, notes=rows.notes(len(dependent)))
    if not wrong:
        return FittedWeights(weights)
    reason = (
        f"because their rows are classes, and the file has {_counted(weights)}, this network "
        f"{network.num_stuff} stuff and {network.num_thing} thing classes (to keep rows by class "
        "name, set init_class_list)"
    )
    rest = {name: value for name, value in weights.items() if name not in dependent}
    return FittedWeights(rest, dict.fromkeys(dependent, reason))


def _refuse_other_shapes(
    names: Sequence[str], own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    if names:
        listed = "; ".join(
            f"{name}: file {tuple(weights[name].shape)}, network {tuple(own[name].shape)}"
            for name in names[:_NUM_NAMED]
        )
        raise SettingsError(
            f"train.init_from does not fit: {len(names)} tensors that do not depend on the classes "
            f"have another shape ({listed}); use the network settings that the file was trained "
            "with"
        )


def _counted(weights: Mapping[str, Tensor]) -> str:
    things = len(weights[f"{_ROI_CLASSES}bias"]) - 1 if f"{_ROI_CLASSES}bias" in weights else None
    both = [len(v) for k, v in weights.items() if k == "sem_head.conv_sem.bias"]
    if things is None:
        return f"{both[0]} classes" if both else "other classes"
    return f"{both[0] - things} stuff and {things} thing classes" if both else f"{things} things"


class _RowMap:
    """Rows of a file's class tensors by the names of this network's classes."""

    def __init__(self, source: LabelSpace, space: LabelSpace) -> None:
        self._source, self._space = source, space
        self._of_class = _by_name(source.class_names, space.class_names)
        self._of_thing = _by_name(
            source.class_names[source.num_stuff :], space.class_names[space.num_stuff :]
        )

    def check(self, names: Sequence[str], weights: Mapping[str, Tensor]) -> None:
        """Refuse a class list that the file was not trained with."""
        for name in names:
            wanted = self._num_rows(name)
            if len(weights[name]) != wanted:
                raise SettingsError(
                    f"init_class_list {self._source.name} lists {self._source.num_stuff} stuff and "
                    f"{self._source.num_things} thing classes, so {name} would have {wanted} rows, "
                    f"but it has {len(weights[name])}: it is not the class list of "
                    "train.init_from"
                )

    def carried(self, name: str, file: Tensor, own: Tensor) -> Tensor:
        """Return the network's initial tensor with the rows of its known classes from the file."""
        result = own.detach().clone()
        per_class, first, rows = self._layout(name)
        result[:first] = file[:first]
        for index, of_file in enumerate(rows):
            if of_file is not None:
                here, there = first + index * per_class, first + of_file * per_class
                result[here : here + per_class] = file[there : there + per_class]
        return result

    def notes(self, num_tensors: int) -> tuple[str, ...]:
        """Say which classes keep their rows."""
        pairs = list(zip(self._space.class_names, self._of_class, strict=True))
        kept = [name for name, row in pairs if row is not None]
        fresh = [name for name, row in pairs if row is None]
        things = self._space.class_names[self._space.num_stuff :]
        no_box = [
            name
            for name, row in zip(things, self._of_thing, strict=True)
            if row is None and name in kept
        ]
        lines = [
            f"{num_tensors} tensors keep the rows of {len(kept)} classes of {self._source.name} by "
            f"name ({', '.join(kept) or 'none'})",
            f"{len(fresh)} classes begin afresh: {', '.join(fresh) or 'none'}",
        ]
        if no_box:
            lines.append(f"no things in the file, so without detections: {', '.join(no_box)}")
        return tuple(lines)

    def _num_rows(self, name: str) -> int:
        per_class, first, _ = self._layout(name)
        of_things = name.startswith((_ROI_CLASSES, _ROI_BOXES, _ROI_MASKS))
        count = self._source.num_things if of_things else self._source.num_classes
        return first + per_class * count

    def _layout(self, name: str) -> tuple[int, int, Sequence[int | None]]:
        """Return rows per class, rows before the first class, and the file's class of each."""
        if name.startswith(_ROI_CLASSES):
            return 1, 1, self._of_thing
        if name.startswith(_ROI_BOXES):
            return _BOX_ROWS, 0, self._of_thing
        if name.startswith(_ROI_MASKS):
            return 1, 0, self._of_thing
        return 1, 0, self._of_class


def _by_name(source: Sequence[str], names: Sequence[str]) -> tuple[int | None, ...]:
    """Return the position of each name in a list; None where it is not there just once."""
    once = [name for name in names if source.count(name) == names.count(name) == 1]
    return tuple(source.index(name) if name in once else None for name in names)
