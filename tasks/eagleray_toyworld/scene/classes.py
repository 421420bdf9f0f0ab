"""The classes of the toy world: the 19 evaluated classes of Cityscapes, and those of homes.

The toy world uses their numbers wherever a class exists there, so that one scene serves Cityscapes
readers and COCO panoptic readers alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from eagleray_vision.panoptic.label_space import CITYSCAPES, VOID_CLASS

_STATIC_LABEL_ID = 4
"""Cityscapes' label id of "static", which its evaluation leaves out."""


@dataclass(frozen=True, kw_only=True)
class StreetClass:
    """One class of the world.

    Attributes:
        train_id: Contiguous evaluation id, stuff first (0 to 18); 255 = not evaluated.
        label_id: Id in Cityscapes' ``*_labelIds.png`` (7 to 33).
        name: Cityscapes' name.
        is_thing: Whether instances are told apart.
    """

    train_id: int
    label_id: int
    name: str
    is_thing: bool


STREET_CLASSES: tuple[StreetClass, ...] = tuple(
    StreetClass(train_id=k, label_id=label_id, name=name, is_thing=bool(CITYSCAPES.is_thing[k]))
    for k, (name, label_id) in enumerate(
        zip(CITYSCAPES.class_names, CITYSCAPES.original_ids, strict=True)
    )
)
"""All evaluated classes in train-id order."""

STATIC = StreetClass(train_id=VOID_CLASS, label_id=_STATIC_LABEL_ID, name="static", is_thing=False)
"""Things on the street that Cityscapes leaves out of its evaluation (bins, planters): void."""

_INDOOR_NAMES = (
    *("wall", "floor", "ceiling", "door", "window", "picture", "mirror", "column", "beam"),
    *("board", "chair", "table", "sofa", "bed", "toilet", "bathtub", "sink", "counter"),
    *("shelving", "stairs", "lamp", "shower"),
)
_NUM_STUFF = 3
"""Walls, floor and ceiling come first and are not told apart."""
_FIRST_INDOOR = 64
"""Ids of indoor classes begin here, away from all ids of streets."""

INDOOR_CLASSES: tuple[StreetClass, ...] = tuple(
    StreetClass(
        train_id=_FIRST_INDOOR + k,
        label_id=_FIRST_INDOOR + k,
        name=name,
        is_thing=k >= _NUM_STUFF,
    )
    for k, name in enumerate(_INDOOR_NAMES)
)
"""Classes of homes, with Matterport3D's names where it has one (Stanford2D3D's otherwise)."""

_ROADWORKS = ("barrier", "traffic cone", "trailer", "construction vehicle")
ROADWORK_CLASSES: tuple[StreetClass, ...] = tuple(
    StreetClass(train_id=VOID_CLASS, label_id=_STATIC_LABEL_ID, name=name, is_thing=True)
    for name in _ROADWORKS
)
"""Classes of nuScenes that Cityscapes leaves out of its evaluation."""

_BY_NAME = {entry.name: entry for entry in STREET_CLASSES}
_INDOOR_BY_NAME = {entry.name: entry for entry in INDOOR_CLASSES}


def street_class(name: str) -> StreetClass:
    """Look a class up by its Cityscapes name.

    Raises:
        ValueError: The name is not one of the 19 evaluated classes.

    Example:
        >>> street_class("car").train_id
        13
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ValueError(f"unknown street class {name!r}; known: {', '.join(_BY_NAME)}") from None


def indoor_class(name: str) -> StreetClass:
    """Look a class of homes up by its name.

    Raises:
        ValueError: Homes have no such class.

    Example:
        >>> indoor_class("chair").is_thing
        True
    """
    try:
        return _INDOOR_BY_NAME[name]
    except KeyError:
        known = ", ".join(_INDOOR_BY_NAME)
        raise ValueError(f"unknown indoor class {name!r}; known: {known}") from None


def roadwork_class(name: str) -> StreetClass:
    """Look a class of roadworks up by its name.

    Raises:
        ValueError: There is no such class.

    Example:
        >>> roadwork_class("trailer").is_thing
        True
    """
    try:
        return ROADWORK_CLASSES[_ROADWORKS.index(name)]
    except ValueError:
        raise ValueError(f"unknown class {name!r}; known: {', '.join(_ROADWORKS)}") from None
