"""Mapillary Vistas v1.1 in its published layout (spec 4)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from eagleray_seamseg.conversion.source import (
    LabeledImage,
    LabelSource,
    fixed_folder,
    paths_matching,
)
from eagleray_vision.panoptic.cityscapes import vistas_to_indexed
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import LabelSpace, label_space_from_vistas
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic


class VistasSource(LabelSource):
    """``<split>/images/*.jpg`` and ``<split>/instances/*.png``, with a ``config.json`` at the root.

    Args:
        root: Folder of the data set.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced.
        labels: Label file relative to ``root``; ``{split}`` and ``{id}`` are replaced.
        annotations: The class list relative to ``root``.
        faithful: Divide instance values by 255 like the original converter, instead of 256.
    """

    def __init__(
        self,
        root: Path,
        *,
        images: str = "{split}/images/*.jpg",
        labels: str = "{split}/instances/{id}.png",
        annotations: str = "config.json",
        faithful: bool = False,
    ) -> None:
        self._root, self._images, self._labels = root, images, labels
        self._annotations, self._faithful = annotations, faithful

    def label_space(self) -> LabelSpace:
        """Return the evaluated classes of ``config.json``, stuff first."""
        return self._space

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the photographs by path."""
        for path in paths_matching(self._root, self._images.format(split=split)):
            label = self._root / self._labels.format(split=split, id=path.stem)
            yield LabeledImage(path.stem, path, label)

    def photo_folder(self, split: str) -> str:
        """Return the fixed part of the photographs' pattern."""
        return fixed_folder(self._images.format(split=split))

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the instance values; classes called a group become crowd segments."""
        values = read_deep_ids(image.label_path)
        return vistas_to_indexed(values, self._space, faithful=self._faithful)[0]

    @cached_property
    def _space(self) -> LabelSpace:
        return label_space_from_vistas(self._root / self._annotations)
