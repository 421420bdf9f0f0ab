"""Street frames of the toy world as labeled images: data whose right answer is known, without any
download.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from eagleray.task import Item, Record, Resources, Rows, Settings, Stage
from eagleray_toyworld.formats.panoptic import street_panoptic_sample
from eagleray_toyworld.settings import ToyworldSettings
from eagleray_vision.datasets.label_stage import PHOTO_FILE, PORTRAITS, PanopticLabelStage
from eagleray_vision.panoptic.label_image import deep_ids_png
from eagleray_vision.panoptic.label_space import (
    CITYSCAPES,
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_CATEGORY_OF_CLASS,
    VOID_CLASS,
    LabelSpace,
)

_SECONDS_PER_PIXEL = 2e-6
"""Measured: about 1 s for 512 x 1024 pixels."""
_SPLITS = ("train", "val")
"""Splits in the order of their seeds; different seeds share no scene."""


class ToyworldFrameStage(Stage):
    """Renders frames; records are those of `PanopticLabelStage`, with the picture as a file.

    Args:
        settings: What to render.
        source: ``train`` or ``val``.
    """

    name = "toyworld_frames"
    version = 1
    schema: Mapping[str, str] = PanopticLabelStage.schema

    def __init__(self, settings: ToyworldSettings, source: str) -> None:
        self._settings, self.source = settings, source
        pixels = settings.height_px * settings.width_px
        self.resources = Resources(seconds_per_item=pixels * _SECONDS_PER_PIXEL, memory_gb=0.5)

    def settings(self) -> Settings:
        """Return all settings but the numbers of frames, which only lengthen the listing."""
        return self._settings.model_copy(update={"train_frames": 1, "val_frames": 1})

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the frames of the split."""
        settings = self._settings
        counts = (settings.train_frames, settings.val_frames)
        split = _SPLITS.index(self.source)
        seed = len(_SPLITS) * settings.seed + split
        for index in range(counts[split]):
            yield Item(
                f"{self.source}_{index:06d}", f"{seed}/{index}", {"seed": seed, "index": index}
            )

    def load(self, item: Item) -> Item:
        """Return the item: there is nothing to decode."""
        return item

    def process(self, samples: Sequence[Item]) -> Sequence[Sequence[Record]]:
        """Render one record per frame."""
        return [[self._record(item)] for item in samples]

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        """Say whether the images are higher than wide."""
        settings = self._settings
        portrait = settings.height_px >= settings.width_px
        return {PORTRAITS: list(rows.keys()) if portrait else []}

    def _record(self, item: Item) -> Record:
        settings = self._settings
        image, id_map, segments = street_panoptic_sample(
            item.payload["seed"],
            item.payload["index"],
            (settings.height_px, settings.width_px),
            min_thing_px=settings.min_thing_px,
        )
        classes = np.array([VOID_CLASS, *(segment.train_id for segment in segments)])
        if settings.labels == "categories":
            id_map, classes = _merge_to_categories(id_map, classes)
        row = {
            "image_path": "",
            "height": settings.height_px,
            "width": settings.width_px,
            "id_map": deep_ids_png(id_map),
            "categories": classes.tolist(),
            "is_crowd": [False] * len(classes),
        }
        return Record(item.key, row, {PHOTO_FILE.format(key=item.key): _png(image)})


def toyworld_label_space(settings: ToyworldSettings) -> LabelSpace:
    """Return the class list of the generated labels."""
    return CITYSCAPES_CATEGORIES if settings.labels == "categories" else CITYSCAPES


def _merge_to_categories(
    id_map: npt.NDArray[np.int32], classes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Put the category in place of the class; stuff of one category becomes one segment."""
    category = np.array([*CITYSCAPES_CATEGORY_OF_CLASS, VOID_CLASS])
    of_segment = category[np.minimum(classes, len(CITYSCAPES_CATEGORY_OF_CLASS))]
    is_stuff = of_segment < CITYSCAPES_CATEGORIES.num_stuff
    group = np.where(is_stuff, of_segment, VOID_CLASS + np.arange(len(classes)))
    group[0] = -1
    _, first, new_id = np.unique(group, return_index=True, return_inverse=True)
    return new_id[id_map].astype(np.int32), of_segment[first]


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    _, encoded = cv2.imencode(".png", image[..., ::-1])
    return encoded.tobytes()
