"""Frames in the on-disk format of COCO panoptic.

    <split>/<stem>.png                      pictures
    annotations/panoptic_<split>/<stem>.png segment ids, R + 256 G + 65536 B
    annotations/panoptic_<split>.json       images, annotations, categories

Category ids are Cityscapes' label ids; a segment's id is its Cityscapes instance value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from eagleray_toyworld.formats.panoptic import instance_values
from eagleray_toyworld.rendering.render import Frame
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.coco_panoptic import segments_info
from eagleray_vision.panoptic.label_image import encode_png, rgb_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES


def coco_file_names(split: str, stem: str) -> tuple[str, str]:
    """Return the relative paths of the picture and of its segment ids."""
    return f"{split}/{stem}.png", f"annotations/panoptic_{split}/{stem}.png"


def coco_json_name(split: str) -> str:
    """Return the relative path of a split's JSON."""
    return f"annotations/panoptic_{split}.json"


def coco_files(
    frame: Frame, split: str, stem: str, *, min_thing_px: int = 0
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Return a frame's two files by relative path, and its ``segments_info``.

    Args:
        frame: A rendered street frame.
        split: ``train`` or ``val``.
        stem: File name without suffix, also the image's id.
        min_thing_px: Things of fewer visible pixels become void.
    """
    panoptic, values = cityscapes_to_indexed(
        instance_values(frame, min_thing_px=min_thing_px), CITYSCAPES
    )
    ids, segments = segments_info(panoptic, lambda k: int(values[k]), CITYSCAPES.original_ids)
    picture, labels = coco_file_names(split, stem)
    return {picture: encode_png(frame.rgb), labels: rgb_ids_png(ids)}, segments


def coco_image(stem: str, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return an entry of ``images``."""
    return {"id": stem, "file_name": f"{stem}.png", "height": size_hw[0], "width": size_hw[1]}


def coco_annotation(stem: str, segments: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an entry of ``annotations``."""
    return {"image_id": stem, "file_name": f"{stem}.png", "segments_info": segments}


def coco_categories() -> list[dict[str, Any]]:
    """Return ``categories``: the 19 classes with Cityscapes' label ids."""
    return [
        {
            "id": CITYSCAPES.original_ids[k],
            "name": name,
            "supercategory": "thing" if CITYSCAPES.is_thing[k] else "stuff",
            "isthing": int(CITYSCAPES.is_thing[k]),
            "color": list(CITYSCAPES.palette[k]),
        }
        for k, name in enumerate(CITYSCAPES.class_names)
    ]


def _json_list(name: str, entries: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    yield f',\n"{name}": ['.encode()
    for k, entry in enumerate(entries):
        yield ((",\n" if k else "\n") + json.dumps(entry)).encode()
    yield b"]"


def coco_json(
    images: Iterable[dict[str, Any]], annotations: Iterable[dict[str, Any]]
) -> Iterator[bytes]:
    """Yield the split's JSON piece by piece, so that no split is too large for the memory.

    Args:
        images: Entries of :func:`coco_image`.
        annotations: Entries of :func:`coco_annotation`, in the same order.
    """
    info = {"description": "toy world with exact truth", "version": "1.0"}
    yield f'{{"info": {json.dumps(info)},\n"licenses": []'.encode()
    yield from _json_list("categories", coco_categories())
    yield from _json_list("images", images)
    yield from _json_list("annotations", annotations)
    yield b"}\n"
