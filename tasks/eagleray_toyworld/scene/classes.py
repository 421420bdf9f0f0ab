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


def street_class(name: str) -> StreetClass:
    """Look a class up by its Cityscapes name.

    Raises:
        ValueError: The name is not one of the 19 evaluated classes.

    Example:
        >>> street_class("car").train_id
        13
    """
    return _named(STREET_CLASSES, name, "street")


def indoor_class(name: str) -> StreetClass:
    """Look a class of homes up by its name.

    Raises:
        ValueError: Homes have no such class.

    Example:
        >>> indoor_class("chair").is_thing
        True
    """
    return _named(INDOOR_CLASSES, name, "indoor")


def roadwork_class(name: str) -> StreetClass:
    """Look a class of roadworks up by its name.

    Raises:
        ValueError: There is no such class.

    Example:
        >>> roadwork_class("trailer").is_thing
        True
    """
    return _named(ROADWORK_CLASSES, name, "roadwork")


def _named(classes: tuple[StreetClass, ...], name: str, what: str) -> StreetClass:
    for one in classes:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in classes)
    raise ValueError(f"unknown {what} class {name!r}; known: {known}")
