"""Predictions as files: the formats of panoptic maps, semantic ids, and ``raw``, which holds what
both heads say before fusion and the logits that the fusion compares.
"""

from __future__ import annotations

from eagleray.task import Item, Record
from eagleray_efficientps.fusion import instance_logits
from eagleray_efficientps.model.network import inclusive
from eagleray_efficientps.predict import full_logits, fusion_rule
from eagleray_efficientps.settings import EfficientPsSettings
from eagleray_vision.exports import PANOPTIC_FORMATS, export_panoptic
from eagleray_vision.exports.raw import raw_file
from eagleray_vision.exports.semantic_ids import semantic_ids_record
from eagleray_vision.inference.prediction import PanopticPrediction
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.samples.sample import PanopticSample

EXPORT_FORMATS = (*PANOPTIC_FORMATS, "semantic_ids", "raw")

_XYXY = [1, 0, 3, 2]


def export_prediction(
    item: Item,
    sample: PanopticSample,
    prediction: PanopticPrediction,
    format: str,
    space: LabelSpace,
    settings: EfficientPsSettings,
) -> Record:
    """Write one prediction in one of `EXPORT_FORMATS`; all but ``raw`` at the photograph's size.

    Args:
        item: The user's file.
        sample: It, as read.
        prediction: What was predicted.
        format: Name of the format.
        space: Class list.
        settings: Settings of the experiment.

    Returns:
        Files, and a row of JSON values for the format's index.

    Raises:
        InputError: The format is unknown, or cannot hold this prediction.
    """
    match format:
        case "semantic_ids":
            classes = prediction.semantic_classes
            return semantic_ids_record(item, classes, sample.output_hw, space)
        case "raw":
            return raw_record(item, sample, prediction, space, settings)
    return export_panoptic(
        item, sample, prediction.fused, format, space, faithful=False, known=EXPORT_FORMATS
    )


def raw_record(
    item: Item,
    sample: PanopticSample,
    prediction: PanopticPrediction,
    space: LabelSpace,
    settings: EfficientPsSettings,
) -> Record:
    """Write ``raw/<name>.pth``, which opens with ``weights_only=True``.

    In pixels of the network input, for n detections: ``semantic_logits`` (classes, h / 4, w / 4) of
    the padded input, ``boxes_yxyx`` (n, 4) by their edges, ``things`` (n,), ``scores`` (n,),
    ``mask_logits`` (n, 28, 28); ``fused_logits``, a list of the detections that take part in the
    fusion by falling score: their ``index``, ``window`` [y0, x0, y1, x1] and ``logits`` there in
    half precision (0 elsewhere), which compete with the enlarged stuff logits. Then what
    `raw_file` adds.

    Args:
        item: The user's file.
        sample: It, as read.
        prediction: What was predicted.
        space: Class list.
        settings: Settings of the experiment.
    """
    found, size = prediction.inference, sample.network_hw
    chosen = (found.scores > settings.fusion.score_threshold).nonzero()[:, 0]
    fused = instance_logits(
        full_logits(found.semantic_logits, size, size),
        inclusive(found.boxes_yxyx[chosen][:, _XYXY]),
        found.classes[chosen],
        found.scores[chosen],
        found.mask_logits[chosen],
        num_stuff=space.num_stuff,
        rule=fusion_rule(settings),
    )
    content = {
        "semantic_logits": found.semantic_logits.clone(),
        "boxes_yxyx": found.boxes_yxyx.clone(),
        "things": found.classes.clone(),
        "scores": found.scores.clone(),
        "mask_logits": found.mask_logits.clone(),
        "fused_logits": [
            {"index": int(chosen[index]), "window": list(window), "logits": logits.half()}
            for index, logits, window in fused
        ],
    }
    return raw_file(item, sample, space, content, ".pth")
