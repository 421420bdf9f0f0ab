"""Export formats by name; each one is a module of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eagleray.task import InputError, Item, Record
from eagleray_seamseg.data import PanopticSample
from eagleray_seamseg.evaluation import resize_panoptic, without_crowds
from eagleray_seamseg.exports.coco_panoptic import coco_panoptic_json, coco_panoptic_record
from eagleray_seamseg.exports.instance_ids import check_instance_ids, instance_ids_record
from eagleray_seamseg.exports.overlay import overlay_record
from eagleray_seamseg.exports.raw import raw_record
from eagleray_seamseg.predict import PanopticPrediction
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_vision.panoptic.label_space import LabelSpace

EXPORT_FORMATS = ("overlay", "coco_panoptic", "cityscapes_instance_ids", "raw")


def check_export_format(format: str, space: LabelSpace) -> None:
    """Refuse a format that a class list cannot be written in.

    Raises:
        SettingsError: The ids of the classes do not fit into Cityscapes instance ids.
    """
    if format == "cityscapes_instance_ids":
        check_instance_ids(space)


def export_prediction(
    item: Item,
    sample: PanopticSample,
    prediction: PanopticPrediction,
    format: str,
    space: LabelSpace,
    settings: SeamlessSettings,
) -> Record:
    """Write one prediction in one of `EXPORT_FORMATS`.

    Crowd segments (things that only the semantic head has seen) are black in ``overlay`` and void
    in ``coco_panoptic`` and ``cityscapes_instance_ids``.

    Args:
        item: The user's file.
        sample: It, as read.
        prediction: What was predicted.
        format: ``overlay`` (JPEG), ``coco_panoptic`` (PNG of ids, JSON over all),
            ``cityscapes_instance_ids`` (16-bit PNG) or ``raw`` (a file for ``torch.load`` with the
            original's keys and the sizes and classes that it lacks). All but ``raw`` have the size
            of the photograph.
        space: Class list.
        settings: Settings of the experiment.

    Returns:
        Files, and a row of JSON values for `export_index`.

    Raises:
        InputError: The format is unknown, or cannot hold this prediction.
    """
    match format:
        case "raw":
            return raw_record(item, sample, prediction.inference, space)
        case "overlay":
            return overlay_record(item, sample, prediction.fused, space, faithful=settings.faithful)
        case "coco_panoptic" | "cityscapes_instance_ids":
            visible = resize_panoptic(without_crowds(prediction.fused), sample.output_hw)
            write = coco_panoptic_record if format == "coco_panoptic" else instance_ids_record
            return write(item, visible, space)
    raise InputError(f"unknown export format {format!r}; allowed are {', '.join(EXPORT_FORMATS)}")


def export_index(
    format: str, rows: Sequence[Mapping[str, Any]], space: LabelSpace
) -> Mapping[str, bytes]:
    """Write what a format has once for all predictions.

    Args:
        format: Name of the format.
        rows: Rows of `export_prediction`.
        space: Class list.

    Returns:
        Content by file name; the JSON of ``coco_panoptic``, nothing for the others.
    """
    return coco_panoptic_json(rows, space) if format == "coco_panoptic" else {}
