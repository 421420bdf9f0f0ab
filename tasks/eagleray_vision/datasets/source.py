"""What every data set gives: a list of labeled images, and the labels of one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from eagleray_vision.panoptic.errors import MissingLabelFileError
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic


@dataclass(frozen=True)
class LabeledImage:
    """One labeled image of a data set, before anything is opened.

    Attributes:
        key: Unique within the split; letters, digits and ``_ - . /``.
        image_path: The photograph.
        label_path: Its label file.
        annotation: What the listing knows about the label, JSON values (segments of a COCO file).
    """

    key: str
    image_path: Path
    label_path: Path
    annotation: Mapping[str, Any] = field(default_factory=dict)


class LabelSource(ABC):
    """A data set in its published layout."""

    @abstractmethod
    def label_space(self) -> LabelSpace:
        """Return the class list, stuff first."""

    @abstractmethod
    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the images of a split in a stable order.

        Args:
            split: Name of the split as the data set calls it.

        Raises:
            MissingLabelFileError: The split's folder or list does not exist.
        """

    def version(self) -> str:
        """Return the version of the data set that the original's COCO lists state."""
        return "1.0"

    @abstractmethod
    def photo_folder(self, split: str) -> str:
        """Return the folder of a split's photographs relative to the root, below which the
        original's COCO lists name them.
        """

    @abstractmethod
    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read and check the label of one image.

        Args:
            image: One entry of the listing.

        Raises:
            PanopticError: The label is missing, damaged or contradicts itself.
        """

    def sizes_belong(self, image_hw: tuple[int, int], label_hw: tuple[int, int]) -> bool:
        """Tell whether a label of that size belongs to a photograph of that size."""
        return image_hw == label_hw


class PatternSource(LabelSource):
    """A data set whose photographs match a glob pattern, with a label file for each.

    Args:
        root: Folder of the data set.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced.
            Empty: that of the published layout.
        labels: Label file relative to ``root``; ``{split}``, ``{id}`` and what the data set has
            beside are replaced. Empty: likewise.
    """

    published_images: ClassVar[str]
    published_labels: ClassVar[str]

    def __init__(self, root: Path, *, images: str = "", labels: str = "") -> None:
        self._root = root
        self._images = images or self.published_images
        self._labels = labels or self.published_labels

    def photos(self, split: str) -> list[Path]:
        """Return the photographs of a split by path.

        Raises:
            MissingLabelFileError: There is none.
        """
        return paths_matching(self._root, self._images.format(split=split))

    def photo_folder(self, split: str) -> str:
        """Return the fixed part of the photographs' pattern."""
        return fixed_folder(self._images.format(split=split))


class ValueSource(PatternSource):
    """A data set whose label files hold ``label id``, or ``label id * 1000 + number``."""

    @abstractmethod
    def read_values(self, image: LabeledImage) -> npt.NDArray[np.integer[Any]]:
        """Read the values of one image as stored, ``(H, W)``.

        Raises:
            PanopticError: The label is missing or damaged.
        """


def fixed_folder(pattern: str) -> str:
    """Return the part of a glob pattern that has no wildcard, as a folder.

    Example:
        >>> fixed_folder("training/images/*.jpg"), fixed_folder("*.png")
        ('training/images', '')
    """
    parts = PurePosixPath(pattern).parts[:-1]
    fixed = takewhile(lambda part: not any(sign in part for sign in "*?["), parts)
    return "/".join(fixed)


def paths_matching(root: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match a glob pattern, sorted by their path.

    Args:
        root: Folder of the data set.
        pattern: Glob pattern relative to it.

    Raises:
        MissingLabelFileError: No file matches.
    """
    paths = sorted(path for path in root.glob(pattern) if path.is_file())
    if not paths:
        raise MissingLabelFileError(
            f"no file matches {pattern!r} below {root}; check the root of the data set and the "
            "split"
        )
    return paths
