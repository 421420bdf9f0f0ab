"""Data sets with a class per pixel and no instances, one file of ids beside each photograph.

A class becomes one segment per image, so that such data sets go through the same stage and the same
placement as panoptic ones. Photograph and label belong together by their names without suffix: a
photograph without its label is a reject, however many files there are beside.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.datasets.source import (
    LabeledImage,
    LabelSource,
    fixed_folder,
    paths_matching,
)
from eagleray_vision.images.reading import PHOTO_SUFFIXES
from eagleray_vision.panoptic.errors import MissingLabelFileError, UnknownCategoryError
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, indexed_panoptic

_NUM_VALUES = 256
_NO_VALUE = -1


class SemanticSource(LabelSource):
    """Photographs in one folder, files of ids in another.

    Args:
        root: Folder of the data set.
        space: Class list; all classes are stuff.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced.
        labels: Label files relative to ``root``, the first one that exists is read; ``{split}`` and
            ``{id}`` are replaced.
    """

    def __init__(
        self, root: Path, space: LabelSpace, *, images: str, labels: Sequence[str]
    ) -> None:
        self._root, self._space, self._images = root, space, images
        self._labels = tuple(labels)

    def label_space(self) -> LabelSpace:
        """Return the class list."""
        return self._space

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the photographs by name; a label that is missing is found when it is read."""
        pattern = self._images.format(split=split)
        photos = [
            path
            for path in paths_matching(self._root, pattern)
            if path.suffix.lower() in PHOTO_SUFFIXES
        ]
        if not photos:
            raise MissingLabelFileError(
                f"no photograph matches {pattern!r} below {self._root}, only files of other kinds"
            )
        for path in photos:
            names = [one.format(split=split, id=path.stem) for one in self._labels]
            there = [name for name in names if (self._root / name).exists()]
            yield LabeledImage(path.stem, path, self._root / (there or names)[0])

    def photo_folder(self, split: str) -> str:
        """Return the fixed part of the photographs' pattern."""
        return fixed_folder(self._images.format(split=split))

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the ids and turn them into one segment per class."""
        values = read_deep_ids(image.label_path)
        classes = self.classes_of(values, image.label_path)
        return panoptic_of_classes(classes, self._space.num_classes)

    @abstractmethod
    def classes_of(self, values: npt.NDArray[np.int32], path: Path) -> npt.NDArray[np.uint8]:
        """Return the class of every pixel, 255 where there is none.

        Args:
            values: ``(H, W)`` as stored.
            path: The file, for messages and where its name tells the encoding.

        Raises:
            UnknownCategoryError: A value means nothing in this data set.
        """


def value_table(classes: Mapping[int, int]) -> npt.NDArray[np.int16]:
    """Return the class of each of 256 stored values, -1 for values that mean nothing.

    Args:
        classes: Class by value; 255 stays void.

    Example:
        >>> value_table({7: 0})[[7, 255, 8]].tolist()
        [0, 255, -1]
    """
    table = np.full(_NUM_VALUES, _NO_VALUE, dtype=np.int16)
    table[VOID_CLASS] = VOID_CLASS
    for value, index in classes.items():
        table[value] = index
    return table


def shifted_table(num_classes: int) -> npt.NDArray[np.int16]:
    """Return the table of labels whose 0 is void and whose classes begin at 1."""
    return value_table({0: VOID_CLASS, **{index + 1: index for index in range(num_classes)}})


def classes_by_table(
    values: npt.NDArray[np.integer[Any]], table: npt.NDArray[np.int16], path: Path
) -> npt.NDArray[np.uint8]:
    """Look stored values up.

    Args:
        values: ``(H, W)`` as stored.
        table: `value_table`.
        path: The file, for the message.

    Returns:
        ``(H, W)`` uint8.

    Raises:
        UnknownCategoryError: A value means nothing.
    """
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    known = np.flatnonzero(table >= 0)
    if low >= 0 and high < _NUM_VALUES:
        classes = table[values]
        if classes.min(initial=0) >= 0:
            return classes.astype(np.uint8)
    unknown = np.setdiff1d(np.unique(values), known)
    inside = known[known < VOID_CLASS]
    raise UnknownCategoryError(
        f"{path}: labels {unknown[:10].tolist()} are beyond the class list; this data set stores "
        f"{len(inside)} values from {inside.min()} to {inside.max()}, and {VOID_CLASS} for void"
    )


def panoptic_of_classes(classes: npt.NDArray[np.integer[Any]], num_classes: int) -> IndexedPanoptic:
    """Make one segment of every class that occurs.

    Args:
        classes: ``(H, W)``, 255 is void.
        num_classes: Number of classes.

    Example:
        >>> panoptic_of_classes(np.array([[2, 255]]), 3).id_map.tolist()
        [[1, 0]]
    """
    counts = np.bincount(classes.ravel(), minlength=_NUM_VALUES)[:num_classes]
    present = np.flatnonzero(counts)
    ids = np.zeros(_NUM_VALUES, dtype=np.int32)
    ids[present] = np.arange(1, len(present) + 1)
    categories = np.concatenate([[VOID_CLASS], present])
    return indexed_panoptic(ids[classes], categories, np.zeros(len(categories), bool))
