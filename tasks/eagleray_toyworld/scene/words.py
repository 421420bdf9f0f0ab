"""What people call the surfaces of a scene: finer than its classes, by object and part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.scene.classes import INDOOR_CLASSES, STATIC, STREET_CLASSES
from eagleray_toyworld.scene.scene import Scene, SceneObject

_PART_WORDS: Mapping[str, str] = {"kerb": "curb", "zebra": "crosswalk"}
"""Parts that have a word of their own within roads and sidewalks."""
_BY_PARTS: tuple[tuple[str, str], ...] = (
    ("crown", "tree"),
    ("trunk", "tree"),
    ("tub", "potted plant"),
    ("bin", "trash bin"),
    ("crate", "box"),
    ("top", "table"),
    ("floor", "floor"),
    ("ceiling", "ceiling"),
)
"""Part that tells what an object of a coarse class is, first match first."""
_COARSE = (STATIC.name, "vegetation", "road", "building")
_OTHERWISE: Mapping[str, str] = {"vegetation": "bush", "terrain": "grass", STATIC.name: "box"}

SURFACE_WORDS: tuple[str, ...] = tuple(
    sorted(
        {entry.name for entry in (*STREET_CLASSES, *INDOOR_CLASSES)} - {"vegetation", "terrain"}
        | {word for _, word in _BY_PARTS}
        | {*_PART_WORDS.values(), *_OTHERWISE.values()}
    )
)
"""All words, sorted; `word_map` gives places in this list."""


def object_word(item: SceneObject) -> str:
    """Return what an object is called.

    Example:
        >>> from eagleray_toyworld.worlds.street import street_scene
        >>> [object_word(item) for item in street_scene(0, 0).objects[:2]]
        ['road', 'grass']
    """
    name = item.street_class.name
    if name in _COARSE:
        parts = {part.name for part in item.parts}
        name = next((word for part, word in _BY_PARTS if part in parts), name)
    return _OTHERWISE.get(name, name)


def part_words(scene: Scene) -> dict[int, str]:
    """Return what each part of a scene is called, by ``part_id``; 0 is the sky."""
    words = {0: "sky"}
    for item in scene.objects:
        whole = object_word(item)
        for part, part_id in zip(item.parts, item.part_ids(), strict=True):
            words[part_id] = _PART_WORDS.get(part.name, whole)
    return words


def word_map(scene: Scene, part_id: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return what every pixel shows.

    Args:
        scene: The scene.
        part_id: (height, width) part numbers of a rendered frame.

    Returns:
        (height, width) uint8 places in `SURFACE_WORDS`.
    """
    places = {word: k for k, word in enumerate(SURFACE_WORDS)}
    words = part_words(scene)
    numbers, inverse = np.unique(part_id, return_inverse=True)
    table = np.array([places[words[int(number)]] for number in numbers], np.uint8)
    return table[inverse].reshape(part_id.shape)
