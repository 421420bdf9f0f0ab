"""The classes of the street world: the 19 evaluated classes of Cityscapes.

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
    """One class of the street world.

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

_BY_NAME = {entry.name: entry for entry in STREET_CLASSES}


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
