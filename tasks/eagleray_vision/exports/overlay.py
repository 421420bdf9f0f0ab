"""``overlay``: class colors and outlines over the photograph, a JPEG."""

from __future__ import annotations

import io

from PIL import Image

from eagleray.task import InputError, Item, Record
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.panoptic.picture import panoptic_picture
from eagleray_vision.samples.sample import PanopticSample

JPEG_QUALITY = 90
_LONGEST_JPEG_PX = 65500
"""Longest side that Pillow's JPEG encoder takes, in pixels (libjpeg's JPEG_MAX_DIMENSION)."""


def overlay_record(
    item: Item,
    sample: PanopticSample,
    panoptic: IndexedPanoptic,
    space: LabelSpace,
    *,
    faithful: bool,
) -> Record:
    """Paint a panoptic map over its photograph.

    Args:
        item: The user's file.
        sample: It, as read.
        panoptic: Fused map, of any size.
        space: Class list.
        faithful: See `panoptic_picture`.

    Returns:
        The file.

    Raises:
        InputError: There is no photograph, or it is too long for a JPEG.
    """
    if sample.photo is None:
        raise InputError(f"{item.key}: an overlay needs the photograph")
    if max(sample.photo.shape) > _LONGEST_JPEG_PX:
        raise InputError(
            f"{item.key}: {sample.photo.shape[1]} x {sample.photo.shape[0]} pixels do not fit into "
            f"a JPEG (at most {_LONGEST_JPEG_PX} a side); export coco_panoptic or reduce the image"
        )
    picture = panoptic_picture(
        sample.photo, panoptic, space.colors, space.num_stuff, faithful=faithful
    )
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Record(item.key, {}, {f"overlay/{item.key}.jpg": buffer.getvalue()})
