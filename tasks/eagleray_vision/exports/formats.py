"""Export formats of panoptic maps by name; each one is a module of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eagleray.task import InputError, Item, Record
from eagleray_vision.exports.cityscapes_panoptic import (
    cityscapes_panoptic_json,
    cityscapes_panoptic_record,
)
from eagleray_vision.exports.coco_panoptic import coco_panoptic_json, coco_panoptic_record
from eagleray_vision.exports.instance_ids import check_instance_ids, instance_ids_record
from eagleray_vision.exports.overlay import overlay_record
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, resize_panoptic, without_crowds
from eagleray_vision.samples.sample import PanopticSample

PANOPTIC_FORMATS = ("overlay", "coco_panoptic", "cityscapes_instance_ids", "cityscapes_panoptic")
"""Formats that show a panoptic map, of any network."""

_WRITERS = {
    "coco_panoptic": coco_panoptic_record,
    "cityscapes_instance_ids": instance_ids_record,
    "cityscapes_panoptic": cityscapes_panoptic_record,
}


def check_export_format(format: str, space: LabelSpace) -> None:
    """Refuse a format that a class list cannot be written in.

    Raises:
        SettingsError: The ids of the classes do not fit into Cityscapes instance ids.
    """
    if format in ("cityscapes_instance_ids", "cityscapes_panoptic"):
        check_instance_ids(space)


def export_panoptic(
    item: Item,
    sample: PanopticSample,
    fused: IndexedPanoptic,
    format: str,
    space: LabelSpace,
    *,
    faithful: bool,
    known: Sequence[str] = PANOPTIC_FORMATS,
) -> Record:
    """Write one panoptic map in one of the `PANOPTIC_FORMATS`.

    Crowd segments (things that only the semantic head has seen) are black in ``overlay`` and void
    in the others.

    Args:
        item: The user's file.
        sample: It, as read.
        fused: The map, of any size; files have the size of the photograph.
        format: ``overlay`` (JPEG), ``coco_panoptic`` (PNG of ids, JSON over all),
            ``cityscapes_instance_ids`` (16-bit PNG) or ``cityscapes_panoptic`` (as the Cityscapes
            server takes it).
        space: Class list.
        faithful: Draw ``overlay`` as Seamless' original does, see `panoptic_picture`.
        known: Formats of the system, for the message about another one.

    Returns:
        Files, and a row of JSON values for `export_index`.

    Raises:
        InputError: The format is unknown, or cannot hold this map.
    """
    match format:
        case "overlay":
            return overlay_record(item, sample, fused, space, faithful=faithful)
        case "coco_panoptic" | "cityscapes_instance_ids" | "cityscapes_panoptic":
            visible = resize_panoptic(without_crowds(fused), sample.output_hw)
            return _WRITERS[format](item, visible, space)
    raise InputError(f"unknown export format {format!r}; allowed are {', '.join(known)}")


def export_index(
    format: str, rows: Sequence[Mapping[str, Any]], space: LabelSpace
) -> Mapping[str, bytes]:
    """Write what a format has once for all predictions.

    Args:
        format: Name of the format.
        rows: Rows of `export_panoptic`.
        space: Class list.

    Returns:
        Content by file name; a JSON for ``coco_panoptic`` and ``cityscapes_panoptic``, nothing for
        the others.
    """
    if format == "cityscapes_panoptic":
        return cityscapes_panoptic_json(rows)
    return coco_panoptic_json(rows, space) if format == "coco_panoptic" else {}
