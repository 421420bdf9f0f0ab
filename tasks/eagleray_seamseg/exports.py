"""Predictions as files: the formats of panoptic maps, and ``raw``, the network's output before
fusion as a file for ``torch.load``.
"""

from __future__ import annotations

from eagleray.task import Item, Record
from eagleray_vision.exports import PANOPTIC_FORMATS, export_panoptic
from eagleray_vision.exports.raw import raw_file
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.samples.sample import PanopticSample

EXPORT_FORMATS = (*PANOPTIC_FORMATS, "raw")


def export_prediction(
    item: Item,
    sample: PanopticSample,
    prediction: PanopticPrediction,
    format: str,
    space: LabelSpace,
    *,
    faithful: bool,
) -> Record:
    """Write one prediction in one of `EXPORT_FORMATS`.

    Args:
        item: The user's file.
        sample: It, as read.
        prediction: What was predicted; ``raw`` does not fuse it.
        format: Name of the format.
        space: Class list.
        faithful: Draw pictures as the original does.

    Returns:
        Files, and a row of JSON values for the format's index.

    Raises:
        InputError: The format is unknown, or cannot hold this prediction.
    """
    if format == "raw":
        return raw_record(item, sample, prediction.inference, space)
    return export_panoptic(
        item, sample, prediction.fused, format, space, faithful=faithful, known=EXPORT_FORMATS
    )


def raw_record(
    item: Item, sample: PanopticSample, inference: PanopticInference, space: LabelSpace
) -> Record:
    """Write the original's raw file, ``<name>.pth.tar``, and what it lacks.

    Keys of the original, in pixels of the network input: ``sem_pred`` (h, w) int64, ``bbx_pred``
    (n, 4) float32 y0 x0 y1 x1, ``cls_pred`` (n,) int64 thing index, ``obj_pred`` (n,) float32,
    ``msk_pred`` (n, 28, 28) float32 logits; the last four None without detections. Ours:
    ``num_thing``, and what `raw_file` adds.

    Args:
        item: The user's file.
        sample: It, as read.
        inference: Output of the network, on the CPU.
        space: Class list.

    Returns:
        The file.
    """
    detected = inference if len(inference.scores) else None
    content = {
        "sem_pred": inference.semantic_classes.clone(),
        "bbx_pred": detected and detected.boxes_yxyx.clone(),
        "cls_pred": detected and detected.classes.clone(),
        "obj_pred": detected and detected.scores.clone(),
        "msk_pred": detected and detected.mask_logits.clone(),
        "num_thing": space.num_things,
    }
    return raw_file(item, sample, space, content, ".pth.tar")
