"""Predictions as files.

``overlay`` shows classes over the photograph with their names, ``labels`` is a PNG of class numbers
with ``labels.json`` that names them, ``scores`` holds the scores of every class at the size of the
network input (NumPy, half precision).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eagleray.task import InputError, Item, Record
from eagleray_ops.picture import overlay_picture, palette_of
from eagleray_vision.panoptic.label_image import deep_ids_png, encode_png
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.samples.semantic import SemanticPrediction, SemanticSample

EXPORT_FORMATS = ("overlay", "labels", "scores")


def export_prediction(
    item: Item,
    sample: SemanticSample,
    prediction: SemanticPrediction,
    format: str,
    classes: Sequence[str],
) -> Record:
    """Write one prediction at the photograph's size.

    Args:
        item: The user's file.
        sample: It, as read.
        prediction: What was predicted.
        format: One of `EXPORT_FORMATS`.
        classes: Names of the classes.

    Raises:
        InputError: The format is unknown, or the scores were not kept.
    """
    name = f"{format}/{item.key}"
    match format:
        case "overlay":
            if sample.photo is None:
                raise InputError(f"{item.key}: an overlay needs the photograph")
            shown = overlay_picture(sample.photo, prediction.classes, classes)
            return Record(item.key, {}, {f"{name}.png": encode_png(shown)})
        case "labels":
            found = prediction.classes
            narrow = len(classes) <= VOID_CLASS
            png = encode_png(found.astype(np.uint8)) if narrow else deep_ids_png(found)
            return Record(item.key, {"file": f"{item.key}.png"}, {f"{name}.png": png})
        case "scores":
            return Record(item.key, {}, {f"{name}.npz": _scores(item.key, prediction, classes)})
    raise InputError(f"unknown export format {format!r}; allowed are {', '.join(EXPORT_FORMATS)}")


def export_index(
    format: str, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> Mapping[str, bytes]:
    """Write ``labels.json``: the classes by their numbers, their colors, and the files."""
    if format != "labels":
        return {}
    colors = palette_of(classes)
    content = {
        "classes": [
            {"id": index, "name": name, "color": colors[index].tolist()}
            for index, name in enumerate(classes)
        ],
        "files": [row["file"] for row in rows],
    }
    return {"labels.json": (json.dumps(content, indent=1) + "\n").encode()}


def _scores(key: str, prediction: SemanticPrediction, classes: Sequence[str]) -> bytes:
    if prediction.scores is None:
        raise InputError(
            f"{key}: the scores of {len(classes)} classes were too large to be kept; raise "
            "inference.memory_gb or make the input smaller"
        )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, scores=prediction.scores, classes=np.array(classes))
    return buffer.getvalue()
