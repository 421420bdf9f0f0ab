"""``cityscapes_instance_ids``: one 16-bit number per pixel for class and instance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError, Item, Record, SettingsError
from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL
from eagleray_vision.panoptic.label_image import deep_ids_png
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

_LARGEST_LABEL = np.iinfo(np.uint16).max // INSTANCES_PER_LABEL - 1
"""Largest id of a thing of which all instance numbers fit into 16 bits."""


def check_instance_ids(space: LabelSpace) -> None:
    """Refuse class lists whose ids the format cannot tell apart.

    Args:
        space: Class list; its original ids are label ids.

    Raises:
        SettingsError: An id is 0 (which is void), a thing's id is above 64 (16 bits), or a stuff
            id is above 999 (which would be an instance).
    """
    stuff, things = space.original_ids[: space.num_stuff], space.original_ids[space.num_stuff :]
    wrong = [label for label in stuff if not 0 < label < INSTANCES_PER_LABEL]
    wrong += [label for label in things if not 0 < label <= _LARGEST_LABEL]
    if wrong:
        raise SettingsError(
            f"cityscapes_instance_ids writes id * {INSTANCES_PER_LABEL} + number in 16 bits and 0 "
            f"for void: ids must lie in 1..{INSTANCES_PER_LABEL - 1} for stuff and "
            f"1..{_LARGEST_LABEL} for things, but {space.name} has {sorted(wrong)[:10]}; export "
            "coco_panoptic instead"
        )


def instance_ids_record(item: Item, panoptic: IndexedPanoptic, space: LabelSpace) -> Record:
    """Write one map: ``instance_ids/<name>_instanceIds.png``.

    Stuff is its label id, a thing ``label id * 1000 + number``, numbers counted per class from 0
    (cityscapesScripts).

    Args:
        item: The user's file.
        panoptic: The map at the photograph's size, crowds left out.
        space: Class list; its original ids are label ids.

    Returns:
        The file.

    Raises:
        SettingsError: See `check_instance_ids`.
        InputError: There are more than 1000 instances of one class.
    """
    check_instance_ids(space)
    png = deep_ids_png(instance_values(panoptic, space, item.key))
    return Record(item.key, {}, {f"instance_ids/{item.key}_instanceIds.png": png})


def instance_values(
    panoptic: IndexedPanoptic, space: LabelSpace, what: str
) -> npt.NDArray[np.int64]:
    """Encode a map as Cityscapes does.

    Args:
        panoptic: The map; segments without pixels get no number.
        space: Class list; its original ids are label ids.
        what: Whose map it is, for messages.

    Returns:
        ``(H, W)`` int64 values, 0 = void.

    Raises:
        InputError: There are more than 1000 instances of one class.
    """
    numbers: dict[int, int] = {}
    table = np.zeros(len(panoptic.categories), dtype=np.int64)
    for index in np.flatnonzero(panoptic.areas()).tolist():
        if index == 0:
            continue
        category = int(panoptic.categories[index])
        label = space.original_ids[category]
        if category < space.num_stuff:
            table[index] = label
            continue
        number = numbers.get(category, 0)
        if number == INSTANCES_PER_LABEL:
            raise InputError(
                f"{what}: more than {INSTANCES_PER_LABEL} instances of "
                f"{space.class_names[category]!r} cannot be told apart in instance ids; export "
                "coco_panoptic instead"
            )
        table[index] = label * INSTANCES_PER_LABEL + number
        numbers[category] = number + 1
    values: npt.NDArray[np.int64] = table[panoptic.id_map]
    return values
