"""Frames in the on-disk format of Mapillary Vistas, versions 1.2 and 2.0 beside each other.

    training/images/<stem>.jpg              pictures (validation/... likewise)
    training/v1.2/instances/<stem>.png      256 * label + instance number
    training/v2.0/instances/<stem>.png      the same with the labels of version 2.0
    config_v1.2.json  config_v2.0.json      class lists

The class lists hold what the street has, in Vistas' style of names; in version 2.0 a person is
called ``human--person--individual``, so that the two differ.
"""

from __future__ import annotations

import io
import json
from typing import Any, Literal

from PIL import Image

from eagleray_toyworld.formats.panoptic import LONG_SPLIT, instance_values, recoded
from eagleray_toyworld.rendering.render import Frame
from eagleray_toyworld.scene.classes import STREET_CLASSES
from eagleray_vision.panoptic.cityscapes import VISTAS_INSTANCES_PER_LABEL
from eagleray_vision.panoptic.label_image import deep_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES

Version = Literal["1.2", "2.0"]
VERSIONS: tuple[Version, ...] = ("1.2", "2.0")

_JPEG_QUALITY = 95
_VOID = "void--unlabeled"
_NAMES = {
    "road": "construction--flat--road",
    "sidewalk": "construction--flat--sidewalk",
    "building": "construction--structure--building",
    "wall": "construction--barrier--wall",
    "fence": "construction--barrier--fence",
    "pole": "object--support--pole",
    "traffic light": "object--traffic-light",
    "traffic sign": "object--traffic-sign--front",
    "vegetation": "nature--vegetation",
    "terrain": "nature--terrain",
    "sky": "nature--sky",
    "person": "human--person",
    "rider": "human--rider--bicyclist",
    "car": "object--vehicle--car",
    "truck": "object--vehicle--truck",
    "bus": "object--vehicle--bus",
    "train": "object--vehicle--on-rails",
    "motorcycle": "object--vehicle--motorcycle",
    "bicycle": "object--vehicle--bicycle",
}
_NEW_NAMES = {"human--person": "human--person--individual"}


def vistas_classes(version: Version) -> list[dict[str, Any]]:
    """Return the ``labels`` of a version's class list, sorted by name as Vistas does."""
    entries = {_VOID: {"color": [0, 0, 0], "evaluate": False, "instances": False}}
    for entry in STREET_CLASSES:
        entries[_name(entry.name, version)] = {
            "color": list(CITYSCAPES.palette[entry.train_id]),
            "evaluate": True,
            "instances": entry.is_thing,
        }
    return [{"name": name, "readable": name, **entries[name]} for name in sorted(entries)]


def vistas_config(version: Version) -> bytes:
    """Return the class list of a version as a file."""
    content = {"labels": vistas_classes(version), "version": version}
    return json.dumps(content, indent=1).encode()


def vistas_config_name(version: Version) -> str:
    """Return the relative path of a version's class list."""
    return f"config_v{version}.json"


def vistas_files(frame: Frame, split: str, stem: str, *, min_thing_px: int = 0) -> dict[str, bytes]:
    """Return a frame's files by relative path; the class lists come once per data set.

    Args:
        frame: A rendered street frame.
        split: ``train`` or ``val``.
        stem: File name without suffix.
        min_thing_px: Things of fewer visible pixels become unlabeled.
    """
    folder, values = LONG_SPLIT[split], instance_values(frame, min_thing_px=min_thing_px)
    files = {f"{folder}/images/{stem}.jpg": _jpeg(frame)}
    for version in VERSIONS:
        index = {label["name"]: k for k, label in enumerate(vistas_classes(version))}
        own = recoded(
            values,
            {entry.label_id: index[_name(entry.name, version)] for entry in STREET_CLASSES},
            per_label=VISTAS_INSTANCES_PER_LABEL,
            void=index[_VOID],
            stuff_alone=False,
        )
        files[f"{folder}/v{version}/instances/{stem}.png"] = deep_ids_png(own)
    return files


def _name(street_name: str, version: Version) -> str:
    name = _NAMES[street_name]
    return _NEW_NAMES.get(name, name) if version == "2.0" else name


def _jpeg(frame: Frame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame.rgb).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
