"""Pictures of panoptic maps: class colors over the photograph, instances outlined in white."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from eagleray_vision.images.overlay import blend, color_labels, paint_through
from eagleray_vision.images.resizing import resize_rgb, scaled_size
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, resize_panoptic

BLEND_ALPHA = 0.5
"""Share of the class colors in the picture, as the originals draw it."""

PICTURE_LONGEST_PX = 1024
"""Longer side of gallery pictures, in pixels."""

_OPAQUE = 255
_NO_ID = 1 << 24
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_SQUARE = np.ones((3, 3), np.uint8)


def panoptic_picture(
    photo: npt.NDArray[np.uint8],
    panoptic: IndexedPanoptic,
    palette: npt.NDArray[np.uint8],
    num_stuff: int,
    *,
    faithful: bool = False,
) -> npt.NDArray[np.uint8]:
    """Paint a panoptic map over its photograph.

    Void and crowd segments are black.

    Args:
        photo: ``(H, W, 3)`` uint8 RGB.
        panoptic: The map, of any size.
        palette: ``(C, 3)`` uint8 colors by class.
        num_stuff: Classes from here on are things.
        faithful: As the original: make colors and outlines at the size of the map, resize them to
            the photograph by Pillow's bicubic filter, and keep the inner pixels of its outlines,
            whose contour finder overflowed. Otherwise the map is enlarged first, so that outlines
            stay thin.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    size_hw = (photo.shape[0], photo.shape[1])
    if not faithful:
        panoptic = resize_panoptic(panoptic, size_hw)
    classes = panoptic.categories.copy()
    classes[panoptic.is_crowd] = VOID_CLASS
    classes[0] = VOID_CLASS
    colors = color_labels(classes[panoptic.id_map], palette)
    is_instance = (classes >= num_stuff) & (classes != VOID_CLASS)
    instance_map = np.where(is_instance[panoptic.id_map], panoptic.id_map, 0)
    is_outline = instance_outlines(instance_map, faithful=faithful)
    outline = np.where(is_outline, _OPAQUE, 0).astype(np.uint8)
    bicubic = Image.Resampling.BICUBIC
    blended = blend(photo, resize_rgb(colors, size_hw, bicubic), BLEND_ALPHA)
    return paint_through(blended, resize_rgb(outline, size_hw, bicubic))


def instance_outlines(
    instance_map: npt.NDArray[np.integer[Any]], *, faithful: bool = False
) -> npt.NDArray[np.bool_]:
    """Find the outer contours of instances, widened by one pixel.

    A pixel is on a contour if its 4-neighborhood is not uniform and it is background or has a
    different instance in its 3 x 3 neighborhood.

    Args:
        instance_map: ``(H, W)`` instance ids, 0 elsewhere.
        faithful: Also take the pixels that the original took by an overflow: those of an instance
            with a non-uniform 4-neighborhood whose left or right neighbor is background, together
            with the pixels above and below that neighbor.

    Returns:
        ``(H, W)`` booleans.
    """
    background = instance_map == 0
    ids = instance_map.astype(np.float32)  # what OpenCV filters, exact for 24-bit ids
    nearest_ids = np.where(background, np.float32(_NO_ID), ids)
    on_border = cv2.dilate(ids, _CROSS) != cv2.erode(ids, _CROSS)
    touches_other = cv2.dilate(ids, _SQUARE) != cv2.erode(nearest_ids, _SQUARE)
    contour = on_border & (background | touches_other)
    if faithful:
        contour |= on_border & ~background & _beside_background_column(background)
    widened: npt.NDArray[np.bool_] = cv2.dilate(contour.astype(np.uint8), _CROSS) > 0
    return widened


def _beside_background_column(background: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether the three pixels in the column left or right of each pixel are all background."""
    column = cv2.erode(background.astype(np.uint8), np.ones((3, 1), np.uint8)) > 0
    left, right = np.zeros_like(column), np.zeros_like(column)
    left[:, 1:] = column[:, :-1]
    right[:, :-1] = column[:, 1:]
    beside: npt.NDArray[np.bool_] = left | right
    return beside


def sample_pictures(
    photo: npt.NDArray[np.uint8] | None,
    truth: IndexedPanoptic | None,
    predicted: IndexedPanoptic,
    space: LabelSpace,
    *,
    faithful: bool = False,
) -> dict[str, npt.NDArray[np.uint8]]:
    """Return photograph, truth and prediction as pictures of one size.

    Args:
        photo: ``(H, W, 3)`` uint8 RGB; None gives no pictures.
        truth: Labels of any size, if there are any.
        predicted: Fused map of any size.
        space: Class list.
        faithful: See `instance_outlines`.

    Returns:
        ``input``, ``truth`` where there is one, and ``prediction``; the longer side is at most
        `PICTURE_LONGEST_PX`.
    """
    if photo is None:
        return {}
    size_hw = (photo.shape[0], photo.shape[1])
    shown = resize_rgb(photo, scaled_size(size_hw, min(1.0, PICTURE_LONGEST_PX / max(size_hw))))
    maps = {"truth": truth, "prediction": predicted}
    drawn = {
        name: panoptic_picture(shown, one, space.colors, space.num_stuff, faithful=faithful)
        for name, one in maps.items()
        if one is not None
    }
    return {"input": shown, **drawn}
