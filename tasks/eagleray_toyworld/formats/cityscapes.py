"""Frames in the on-disk format of Cityscapes: ``leftImg8bit`` and ``gtFine``.

The PNGs are the truth. The polygons are outlines of connected pieces in an order in which the inner
ones come later, as Cityscapes' own tools draw them; a thing that is cut in two by something in
front of it has two polygons there, but one value in ``instanceIds``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.formats.panoptic import instance_values, label_ids
from eagleray_toyworld.rendering.render import Frame
from eagleray_toyworld.scene.classes import STATIC, STREET_CLASSES
from eagleray_vision.panoptic.cityscapes import INSTANCES_PER_LABEL
from eagleray_vision.panoptic.label_image import deep_ids_png, encode_png

_NAME_OF_LABEL = {entry.label_id: entry.name for entry in (*STREET_CLASSES, STATIC)}


@dataclass(frozen=True, kw_only=True)
class CityscapesName:
    """What a frame is called.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        city: Lower-case letters only.
        sequence: Sequence number, 0 to 999999.
        frame: Frame number within the sequence, 0 to 999999.
    """

    split: str
    city: str
    sequence: int
    frame: int

    @property
    def stem(self) -> str:
        """``<city>_<sequence>_<frame>``."""
        return f"{self.city}_{self.sequence:06d}_{self.frame:06d}"

    def file_names(self) -> tuple[str, str, str, str]:
        """Return the relative paths of image, label ids, instance ids and polygons."""
        image = f"leftImg8bit/{self.split}/{self.city}/{self.stem}_leftImg8bit.png"
        truth = f"gtFine/{self.split}/{self.city}/{self.stem}_gtFine"
        return (
            image,
            f"{truth}_labelIds.png",
            f"{truth}_instanceIds.png",
            f"{truth}_polygons.json",
        )


def _pieces(values: NDArray[np.int32]) -> list[tuple[float, int, list[list[int]]]]:
    """Return (enclosed area, value, outline) of all connected pieces of all values."""
    pieces = []
    for value in np.unique(values):
        mask = (values == value).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for outline in outlines:
            points = outline[:, 0, :].tolist()
            while len(points) < 3:
                points.append(points[-1])
            pieces.append((float(cv2.contourArea(outline)), int(value), points))
    return pieces


def polygons(values: NDArray[np.int32]) -> dict[str, Any]:
    """Return the content of ``*_polygons.json`` for instance values.

    Args:
        values: (height, width) int32 instance values.
    """
    pieces = _pieces(values)
    pieces.sort(key=lambda piece: (-piece[0], piece[1]))
    objects = []
    for _, value, outline in pieces:
        label = value if value < INSTANCES_PER_LABEL else value // INSTANCES_PER_LABEL
        objects.append({"label": _NAME_OF_LABEL[label], "polygon": outline})
    return {"imgHeight": values.shape[0], "imgWidth": values.shape[1], "objects": objects}


def cityscapes_files(frame: Frame, name: CityscapesName) -> dict[str, bytes]:
    """Return the four files of a frame by relative path.

    Args:
        frame: A rendered street frame.
        name: What it is called.
    """
    values = instance_values(frame)
    contents = (
        encode_png(frame.rgb),
        encode_png(label_ids(frame)),
        deep_ids_png(values),
        json.dumps(polygons(values)).encode(),
    )
    return dict(zip(name.file_names(), contents, strict=True))
