"""Mapillary Vistas in its published layouts.

Versions 1.1 and 1.2 have 66 labels; version 2.0 refines them to 124 and comes beside version 1.2 in
one download. Instance images hold ``256 * label + instance`` in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from eagleray_vision.datasets.source import (
    LabeledImage,
    PatternSource,
)
from eagleray_vision.panoptic.cityscapes import vistas_to_indexed
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import (
    LabelSpace,
    label_space_from_vistas,
    read_vistas_config,
)
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

VistasVersion = Literal["1.2", "2.0"]

_LAYOUTS: Mapping[VistasVersion, tuple[tuple[str, str], ...]] = {
    "1.2": (
        ("config.json", "{split}/instances/{id}.png"),
        ("config_v1.2.json", "{split}/v1.2/instances/{id}.png"),
    ),
    "2.0": (
        ("config_v2.0.json", "{split}/v2.0/instances/{id}.png"),
        ("v2.0/config_v2.0.json", "v2.0/{split}/instances/{id}.png"),
    ),
}
"""Class list and label files of each version: where downloads of it alone, or of both, have
them."""


class VistasSource(PatternSource):
    """Photographs in ``<split>/images``, instance images beside, and a class list at the root.

    Args:
        root: Folder of the data set.
        version: Which labels: 1.2 (also 1.1, the same classes) or 2.0.
        images: Glob pattern of the photographs relative to ``root``; ``{split}`` is replaced.
        labels: Label file relative to ``root``; ``{split}`` and ``{id}`` are replaced. Empty: that
            of the layout whose class list is there.
        annotations: The class list relative to ``root``. Empty: likewise.
        faithful: Divide instance values by 255 like the original converter, instead of 256.
    """

    published_images = "{split}/images/*.jpg"
    published_labels = ""

    def __init__(
        self,
        root: Path,
        *,
        version: VistasVersion = "1.2",
        images: str = "",
        labels: str = "",
        annotations: str = "",
        faithful: bool = False,
    ) -> None:
        super().__init__(root, images=images, labels=labels)
        self._version, self._annotations, self._faithful = version, annotations, faithful

    def label_space(self) -> LabelSpace:
        """Return the evaluated classes of the configuration, stuff first."""
        return self._space

    def labeled_images(self, split: str) -> Iterator[LabeledImage]:
        """List the photographs by path."""
        _, labels = self._layout
        for path in self.photos(split):
            label = self._root / labels.format(split=split, id=path.stem)
            yield LabeledImage(path.stem, path, label)

    def version(self) -> str:
        """Return what the configuration states."""
        return str(read_vistas_config(self._root / self._layout[0]).get("version", self._version))

    def read_label(self, image: LabeledImage) -> IndexedPanoptic:
        """Read the instance values; classes called a group become crowd segments."""
        values = read_deep_ids(image.label_path)
        return vistas_to_indexed(values, self._space, faithful=self._faithful)[0]

    @cached_property
    def _layout(self) -> tuple[str, str]:
        layouts = _LAYOUTS[self._version]
        there = [layout for layout in layouts if (self._root / layout[0]).is_file()]
        annotations, labels = there[0] if there else layouts[0]
        return (self._annotations or annotations, self._labels or labels)

    @cached_property
    def _space(self) -> LabelSpace:
        return label_space_from_vistas(self._root / self._layout[0])
