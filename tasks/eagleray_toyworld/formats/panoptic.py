"""Panoptic truth of a frame: Cityscapes' instance values, and the contiguous form plugins train
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.scene.classes import STATIC, STREET_CLASSES
from eagleray_toyworld.worlds.street import street_camera, street_scene
from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL, cityscapes_to_indexed
from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

_UNLABELED_ID = 0
"""Cityscapes' label id of pixels that nobody labeled."""

LONG_SPLIT = {"train": "training", "val": "validation"}
"""What KITTI panoptic and Vistas call the splits."""


@dataclass(frozen=True, kw_only=True)
class StreetSegment:
    """One segment of a panoptic street image.

    Attributes:
        segment_id: Its value in the id map, from 1.
        train_id: Class (0 to 18, stuff first).
        is_thing: Whether it is one instance of a countable class.
        area_px: Number of its pixels.
    """

    segment_id: int
    train_id: int
    is_thing: bool
    area_px: int


def label_ids(frame: Frame) -> NDArray[np.uint8]:
    """Return (height, width) uint8 Cityscapes label ids (7 to 33; 4 where nothing is evaluated)."""
    table = np.full(VOID_CLASS + 1, STATIC.label_id, dtype=np.uint8)
    for entry in STREET_CLASSES:
        table[entry.train_id] = entry.label_id
    found: NDArray[np.uint8] = table[frame.train_id]
    return found


def instance_values(frame: Frame, *, min_thing_px: int = 0) -> NDArray[np.int32]:
    """Return Cityscapes' instance values: label id of stuff, label id * 1000 + k of things.

    Things are numbered from 0 within their class in the order of their object numbers.

    Args:
        frame: A rendered frame.
        min_thing_px: Things of fewer visible pixels become unlabeled (0).

    Returns:
        (height, width) int32.
    """
    labels = label_ids(frame).astype(np.int32)
    ids, first, inverse, areas = np.unique(
        frame.instance_id, return_index=True, return_inverse=True, return_counts=True
    )
    values = np.zeros(len(ids), dtype=np.int32)
    next_number: dict[int, int] = {}
    for k, object_id in enumerate(ids):
        if object_id == 0 or areas[k] < min_thing_px:
            continue
        label = int(labels.flat[first[k]])
        values[k] = label * INSTANCES_PER_LABEL + next_number.get(label, 0)
        next_number[label] = next_number.get(label, 0) + 1
    thing_values = values[inverse].reshape(labels.shape)
    too_small = np.where(frame.instance_id > 0, _UNLABELED_ID, labels)
    return np.where(thing_values > 0, thing_values, too_small).astype(np.int32)


def recoded(
    values: NDArray[np.int32],
    id_of_label: Mapping[int, int],
    *,
    per_label: int,
    void: int,
    stuff_alone: bool,
) -> NDArray[np.int32]:
    """Write Cityscapes' instance values with the labels of another data set.

    Args:
        values: What `instance_values` returns.
        id_of_label: The other data set's id of each Cityscapes label id; void where there is none.
        per_label: Things become ``id * per_label + number``.
        void: Id of pixels without a class.
        stuff_alone: Stuff and void are the id alone; else they too are ``id * per_label``.

    Returns:
        ``(height, width)`` int32.

    Raises:
        ValueError: A frame has more things of a class than can be numbered.
    """
    found, inverse = np.unique(values, return_inverse=True)
    table = np.empty(len(found), dtype=np.int32)
    for k, value in enumerate(found.tolist()):
        is_thing = value >= INSTANCES_PER_LABEL
        label, number = divmod(value, INSTANCES_PER_LABEL) if is_thing else (value, 0)
        if number >= per_label:
            raise ValueError(f"{number + 1} things of label {label}, at most {per_label} fit")
        own = id_of_label.get(label, void)
        table[k] = own * per_label + number if is_thing or not stuff_alone else own
    return table[inverse].reshape(values.shape)


def street_panoptic(frame: Frame, *, min_thing_px: int = 0) -> IndexedPanoptic:
    """Return the panoptic map with contiguous segments, stuff before things.

    Args:
        frame: A rendered frame.
        min_thing_px: Things of fewer visible pixels become void.
    """
    return cityscapes_to_indexed(instance_values(frame, min_thing_px=min_thing_px), CITYSCAPES)[0]


def street_panoptic_sample(
    seed: int, index: int, size_hw: tuple[int, int], *, min_thing_px: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int32], tuple[StreetSegment, ...]]:
    """Make one labeled street image; the same numbers give the same bytes everywhere.

    Args:
        seed: Seed of the world; different seeds share no scene.
        index: Number of the scene under that seed.
        size_hw: Image height and width, pixels.
        min_thing_px: Things of fewer visible pixels become void.

    Returns:
        image: (height, width, 3) uint8 RGB.
        id_map: (height, width) int32 segment ids, 0 = void.
        segments: One record per segment, in id order: stuff (at most one per class), then things.

    Example:
        >>> image, id_map, segments = street_panoptic_sample(0, 0, (64, 128))
        >>> [s.segment_id for s in segments] == list(range(1, int(id_map.max()) + 1))
        True
    """
    scene = street_scene(seed, index)
    frame = render(scene, street_camera(scene, size_hw=size_hw))
    panoptic = street_panoptic(frame, min_thing_px=min_thing_px)
    areas = panoptic.areas()
    segments = tuple(
        StreetSegment(
            segment_id=k,
            train_id=int(panoptic.categories[k]),
            is_thing=bool(CITYSCAPES.is_thing[int(panoptic.categories[k])]),
            area_px=int(areas[k]),
        )
        for k in range(1, len(panoptic.categories))
    )
    return frame.rgb, panoptic.id_map, segments
