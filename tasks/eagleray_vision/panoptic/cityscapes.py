"""Cityscapes instance labels: one number per pixel for class and instance.

``*_instanceIds.png``: a value below 1000 is the label id of a stuff region, or of a group of things
that were not told apart; from 1000 on it is ``label id * 1000 + instance``
(cityscapesScripts).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.panoptic.coco_panoptic import segments_info
from eagleray_vision.panoptic.errors import UnknownCategoryError
from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, indexed_panoptic

INSTANCES_PER_LABEL = 1000
"""Instance values are ``label id * 1000 + number``: cityscapesScripts."""

_TABLE_SIZE = 1 << 16
"""Values below, all those of a 16-bit PNG, are counted and looked up in a table."""

VISTAS_INSTANCES_PER_LABEL = 256
"""Vistas encodes ``256 * class + instance``."""

VISTAS_FAITHFUL_DIVISOR = 255
"""The original Seamless converter divides by 255, wrong from about 190 instances of a class on."""


def cityscapes_to_indexed(
    instance_ids: npt.NDArray[np.integer[Any]], space: LabelSpace = CITYSCAPES
) -> tuple[IndexedPanoptic, npt.NDArray[np.int64]]:
    """Turn instance values into a panoptic map, segments by ascending value.

    Args:
        instance_ids: ``(H, W)`` values as stored.
        space: Class list; its original ids are label ids.

    Returns:
        The map, void where a label is not evaluated, and the ``(n + 1,)`` value of each segment (0
        for void).

    Raises:
        UnknownCategoryError: A label id is neither a class nor one of the ignored labels.
    """
    values = _values_of(instance_ids)
    labels = np.where(values < INSTANCES_PER_LABEL, values, values // INSTANCES_PER_LABEL)
    is_group = values < INSTANCES_PER_LABEL
    first_thing = space.num_stuff
    return _index_values(
        instance_ids,
        values,
        labels,
        space,
        lambda index, kind: bool(is_group[index] and kind >= first_thing),
    )


def vistas_to_indexed(
    instance_ids: npt.NDArray[np.integer[Any]], space: LabelSpace, *, faithful: bool = False
) -> tuple[IndexedPanoptic, npt.NDArray[np.int64]]:
    """Turn the instance values of Mapillary Vistas (v1.1) into a panoptic map.

    Args:
        instance_ids: ``(H, W)`` values ``256 * class + instance``.
        space: Class list of the data set's ``config.json``.
        faithful: Divide by 255 like the original converter.

    Returns:
        The map, crowd where "group" occurs in the class name, and the ``(n + 1,)`` value of each
        segment.

    Raises:
        UnknownCategoryError: A class number is not in the list.
    """
    values = _values_of(instance_ids)
    labels = values // (VISTAS_FAITHFUL_DIVISOR if faithful else VISTAS_INSTANCES_PER_LABEL)
    return _index_values(
        instance_ids, values, labels, space, lambda _, kind: "group" in space.class_names[kind]
    )


def cityscapes_panoptic_annotation(
    instance_ids: npt.NDArray[np.integer[Any]], image_id: str, space: LabelSpace = CITYSCAPES
) -> tuple[npt.NDArray[np.uint32], dict[str, Any]]:
    """Write the official panoptic truth of one frame (cityscapesScripts).

    Segment ids are the instance values, category ids the label ids.

    Args:
        instance_ids: ``(H, W)`` values as stored.
        image_id: ``{city}_{sequence}_{frame}``.
        space: Class list.

    Returns:
        ``(H, W)`` uint32 ids for the PNG, and the entry of the JSON's ``annotations``.

    Raises:
        UnknownCategoryError: A label id is neither a class nor one of the ignored labels.
    """
    panoptic, values = cityscapes_to_indexed(instance_ids, space)
    ids, entries = segments_info(panoptic, lambda index: int(values[index]), space.original_ids)
    return ids, {
        "image_id": image_id,
        "file_name": f"{image_id}_gtFine_panoptic.png",
        "segments_info": entries,
    }


def _fits_table(low: int, high: int) -> bool:
    """Tell whether values can be counted in a table instead of being sorted."""
    return low >= 0 and high < _TABLE_SIZE


def _values_of(ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """Return the values that occur, ascending: ``np.unique``, by counting where they are small."""
    if ids.size and _fits_table(int(ids.min()), int(ids.max())):
        return np.flatnonzero(np.bincount(ids.ravel()))
    return np.unique(ids)


def _looked_up(
    table: npt.NDArray[np.int32],
    values: npt.NDArray[np.integer[Any]],
    ids: npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.int32]:
    """Return for every pixel the table's entry of its value's position among the values."""
    if len(values) and _fits_table(int(values[0]), int(values[-1])):
        by_value = np.zeros(int(values[-1]) + 1, dtype=np.int32)
        by_value[values] = table
        return np.take(by_value, ids)
    renumbered: npt.NDArray[np.int32] = table[np.searchsorted(values, ids)]
    return renumbered


def _index_values(
    instance_ids: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[np.integer[Any]],
    labels: npt.NDArray[np.integer[Any]],
    space: LabelSpace,
    is_crowd: Callable[[int, int], bool],
) -> tuple[IndexedPanoptic, npt.NDArray[np.int64]]:
    class_of_label = space.class_of_original()
    unknown = {int(label) for label in labels} - set(class_of_label) - space.ignored_ids
    if unknown:
        raise UnknownCategoryError(
            f"label ids {sorted(unknown)[:10]} are not in the class list {space.name} "
            f"({space.num_classes} classes, {len(space.ignored_ids)} ignored labels); "
            "is this an *_instanceIds.png of that data set?"
        )
    table = np.zeros(len(values), dtype=np.int32)
    categories, crowds, kept_values = [VOID_CLASS], [False], [0]
    for index, label in enumerate(labels.tolist()):
        if label not in class_of_label:
            continue
        table[index] = len(categories)
        categories.append(class_of_label[label])
        crowds.append(is_crowd(index, categories[-1]))
        kept_values.append(int(values[index]))
    id_map = _looked_up(table, values, instance_ids)
    return indexed_panoptic(id_map, categories, crowds), np.array(kept_values, dtype=np.int64)
