"""Class lists as data: names, things and stuff, colors, and the data set's own ids.

Everything that would otherwise be a bare number in code (how many stuff classes, which id is void)
is read from a `LabelSpace`. Stuff classes come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.images.palette import distinct_palette
from eagleray_vision.json_file import read_json, whole_number
from eagleray_vision.panoptic.errors import MissingLabelFileError, SegmentListError

VOID_CLASS = 255
"""Class of unlabeled pixels in 8-bit semantic maps."""


@dataclass(frozen=True)
class LabelSpace:
    """An ordered class list, stuff first.

    Attributes:
        name: What the list is called.
        class_names: ``C`` names.
        num_stuff: Classes ``0..num_stuff-1`` are stuff, the rest things.
        original_ids: ``C`` ids that the data set itself uses for the classes.
        palette: ``C`` RGB colors.
        ignored_ids: Ids of the data set that are labeled but not evaluated; they become void.

    Raises:
        SegmentListError: The lists differ in length, or a name or id occurs twice.
    """

    name: str
    class_names: tuple[str, ...]
    num_stuff: int
    original_ids: tuple[int, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignored_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Check the lists against each other."""
        num_classes = len(self.class_names)
        if not len(self.original_ids) == len(self.palette) == num_classes:
            raise SegmentListError(
                f"label space {self.name}: {num_classes} names, {len(self.original_ids)} ids and "
                f"{len(self.palette)} colors; one of each per class is needed"
            )
        if len(set(self.original_ids)) != num_classes:
            raise SegmentListError(f"label space {self.name}: an original id occurs twice")
        if not 0 <= self.num_stuff <= num_classes <= VOID_CLASS:
            raise SegmentListError(
                f"label space {self.name}: num_stuff {self.num_stuff} must lie in "
                f"0..{num_classes}, "
                f"and at most {VOID_CLASS} classes fit beside the void class"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def num_things(self) -> int:
        """Number of thing classes."""
        return self.num_classes - self.num_stuff

    @property
    def is_thing(self) -> npt.NDArray[np.bool_]:
        """Whether each class is a thing, ``(C,)``."""
        return np.arange(self.num_classes) >= self.num_stuff

    @property
    def colors(self) -> npt.NDArray[np.uint8]:
        """RGB colors, ``(C, 3)`` uint8."""
        return np.array(self.palette, dtype=np.uint8).reshape(-1, 3)

    def class_of_original(self) -> dict[int, int]:
        """Return the class index of each of the data set's own ids."""
        return {original: index for index, original in enumerate(self.original_ids)}


_CITYSCAPES_STUFF = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
)
_CITYSCAPES_THINGS = (
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
_CITYSCAPES_VOID_LABEL_IDS = frozenset({*range(7), 9, 10, 14, 15, 16, 18, 29, 30})


def _cityscapes() -> LabelSpace:
    names, label_ids, palette = zip(*_CITYSCAPES_STUFF, *_CITYSCAPES_THINGS, strict=True)
    return LabelSpace(
        "cityscapes19",
        names,
        len(_CITYSCAPES_STUFF),
        label_ids,
        palette,
        _CITYSCAPES_VOID_LABEL_IDS,
    )


CITYSCAPES = _cityscapes()
"""The 19 evaluated classes of Cityscapes in train-id order (11 stuff, 8 things); original ids are
label ids."""

_CATEGORY_CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("flat", ("road", "sidewalk")),
    ("construction", ("building", "wall", "fence")),
    ("object", ("pole", "traffic light", "traffic sign")),
    ("nature", ("vegetation", "terrain")),
    ("sky", ("sky",)),
    ("human", ("person", "rider")),
    ("vehicle", ("car", "truck", "bus", "train", "motorcycle", "bicycle")),
)
"""Cityscapes' own grouping of its evaluated classes (Cordts et al. 2016, table 1), stuff first."""
_NUM_STUFF_CATEGORIES = 5


def _cityscapes_categories() -> LabelSpace:
    first = [CITYSCAPES.class_names.index(classes[0]) for _, classes in _CATEGORY_CLASSES]
    return LabelSpace(
        "cityscapes7",
        tuple(name for name, _ in _CATEGORY_CLASSES),
        _NUM_STUFF_CATEGORIES,
        tuple(range(len(_CATEGORY_CLASSES))),
        tuple(CITYSCAPES.palette[index] for index in first),
    )


CITYSCAPES_CATEGORIES = _cityscapes_categories()
"""The seven categories of Cityscapes, each in the color of its first class."""

CITYSCAPES_CATEGORY_OF_CLASS: tuple[int, ...] = tuple(
    next(index for index, (_, classes) in enumerate(_CATEGORY_CLASSES) if name in classes)
    for name in CITYSCAPES.class_names
)
"""Category of each of the 19 classes."""


def label_space_from_coco(name: str, categories: Sequence[Mapping[str, Any]]) -> LabelSpace:
    """Build a class list out of the ``categories`` of a COCO panoptic JSON.

    Args:
        name: What to call the list.
        categories: Entries with ``id``, ``name``, ``isthing`` and, optionally, ``color``.

    Returns:
        Stuff classes in their order of the JSON, then the things.

    Raises:
        SegmentListError: An entry lacks a key, or there is none.

    Example:
        >>> space = label_space_from_coco("two", [{"id": 3, "name": "car", "isthing": 1},
        ...                                        {"id": 9, "name": "sky", "isthing": 0}])
        >>> space.class_names, space.num_stuff
        (('sky', 'car'), 1)
    """
    if not categories:
        raise SegmentListError(f"label space {name}: the JSON lists no categories")
    missing = [
        entry
        for entry in categories
        if not isinstance(entry, Mapping) or not {"id", "name", "isthing"} <= set(entry)
    ]
    if missing:
        raise SegmentListError(
            f"label space {name}: category {missing[0]!r:.80} lacks one of id, name, isthing; "
            "panoptic files carry all three (detection files do not)"
        )
    ordered = sorted(categories, key=lambda entry: bool(entry["isthing"]))
    if len(categories) > VOID_CLASS:
        raise SegmentListError(
            f"label space {name}: {len(categories)} categories, at most {VOID_CLASS} fit"
        )
    fallback = distinct_palette(len(ordered)).tolist()
    try:
        return LabelSpace(
            name,
            tuple(str(entry["name"]) for entry in ordered),
            sum(not entry["isthing"] for entry in ordered),
            tuple(whole_number(entry["id"], "id") for entry in ordered),
            tuple(_color(entry.get("color", fallback[k])) for k, entry in enumerate(ordered)),
        )
    except SegmentListError:
        raise
    except ValueError as error:
        raise SegmentListError(f"label space {name}: a category is malformed ({error})") from error


def _color(value: Any) -> tuple[int, int, int]:
    """Return red, green and blue in 0..255; raises ValueError."""
    parts = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    numbers = [whole_number(part, "color") for part in parts]
    if len(numbers) != 3 or not 0 <= min(numbers) <= max(numbers) <= 255:
        raise ValueError(f"a color is three numbers in 0..255, found {value!r:.60}")
    return (numbers[0], numbers[1], numbers[2])


_VISTAS_KEYS = ("name", "color", "evaluate", "instances")


def label_space_from_vistas(config_path: Path) -> LabelSpace:
    """Build a class list out of the ``config.json`` of Mapillary Vistas (version 2.0 has
    the same form).

    Labels with ``evaluate`` false are ignored; stuff (``instances`` false) gets classes first, then
    things, both in list order. Original ids are positions in the file's own list.

    Args:
        config_path: The file.

    Returns:
        The class list (28 stuff and 37 things for version 1.1).

    Raises:
        MissingLabelFileError: The file does not exist.
        SegmentListError: It is no class list of Vistas.
    """
    labels = read_vistas_config(config_path)["labels"]
    evaluated = [index for index, label in enumerate(labels) if label["evaluate"]]
    order = sorted(evaluated, key=lambda index: bool(labels[index]["instances"]))
    return LabelSpace(
        "vistas",
        tuple(labels[index]["name"] for index in order),
        sum(not labels[index]["instances"] for index in order),
        tuple(order),
        tuple(tuple(labels[index]["color"]) for index in order),
        frozenset(range(len(labels))) - frozenset(order),
    )


def read_vistas_config(config_path: Path) -> Mapping[str, Any]:
    """Read the ``config.json`` of Mapillary Vistas: ``labels`` and, as a rule, ``version``.

    Args:
        config_path: The file.

    Raises:
        MissingLabelFileError: The file does not exist.
        SegmentListError: It is no JSON, or a label lacks a key.
    """
    if not config_path.exists():
        raise MissingLabelFileError(f"{config_path}: not found; Vistas keeps its class list there")
    content: Mapping[str, Any] = read_json(config_path, SegmentListError)
    try:
        lacking = [label for label in content["labels"] if not set(_VISTAS_KEYS) <= set(label)]
        for label in [] if lacking else content["labels"]:
            _color(label["color"])
    except (ValueError, KeyError, TypeError) as error:
        raise SegmentListError(
            f"{config_path}: no class list of Vistas ({type(error).__name__}: {error}); it is a "
            "JSON with 'labels'"
        ) from error
    if lacking:
        raise SegmentListError(f"{config_path}: label {lacking[0]} lacks one of {_VISTAS_KEYS}")
    return content
