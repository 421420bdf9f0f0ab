"""``semantic_ids``: the data set's id of every pixel's class, an 8-bit PNG (Cityscapes' semantic
board takes it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError, Item, Record
from eagleray_vision.images.resizing import resize_nearest
from eagleray_vision.panoptic.label_image import encode_png
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace

_LARGEST_ID = np.iinfo(np.uint8).max


def semantic_ids_record(
    item: Item, classes: npt.NDArray[np.integer[Any]], size_hw: tuple[int, int], space: LabelSpace
) -> Record:
    """Write ``semantic_ids/<name>.png``.

    Args:
        item: The user's file.
        classes: ``(h, w)`` class per pixel, 255 = void, of any size.
        size_hw: Height and width of the photograph.
        space: Class list.

    Returns:
        The file; void is 0, or 255 where the data set gives 0 to a class.

    Raises:
        InputError: An id does not fit into 8 bits.
    """
    ids = space.original_ids
    if max(ids) > _LARGEST_ID:
        raise InputError(
            f"semantic_ids writes 8 bits, but {space.name} has the id {max(ids)}; export "
            "coco_panoptic instead"
        )
    table = np.full(VOID_CLASS + 1, VOID_CLASS if 0 in ids else 0, dtype=np.uint8)
    table[: len(ids)] = ids
    values = table[resize_nearest(classes.astype(np.uint8), size_hw)]
    return Record(item.key, {}, {f"semantic_ids/{item.key}.png": encode_png(values)})
