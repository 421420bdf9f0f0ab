"""Pictures of an occupancy, made without a display: seen from above, with the photographs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from eagleray_pop3d.data import EvaluationSample
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.predict import FramePrediction
from eagleray_pop3d.voxels import FREE_LABEL, IGNORED_LABEL, evaluation_labels
from eagleray_vision.driving.lidarseg import CLASS_COLORS

Rgb = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]

_SIDE_PX = 480
_UNOBSERVED: tuple[int, int, int] = (60, 60, 60)
_LOWEST_SHADE = 0.55
"""Brightness of the lowest layer; the highest is shown as it is."""


def sample_pictures(
    sample: EvaluationSample, prediction: FramePrediction, grid: GridSettings
) -> Mapping[str, Rgb]:
    """Return the photographs, and truth and prediction seen from above (ahead is up), all of one
    size.
    """
    pictures = {
        "input": photographs(sample),
        "prediction": from_above(prediction.labels),
    }
    if sample.classes is not None:
        pictures["truth"] = from_above(evaluation_labels(sample.frame.points, sample.classes, grid))
    return pictures


def from_above(labels: Labels) -> Rgb:
    """Return the topmost class of every column, the vehicle's front (y) up, ``(480, 480, 3)``.

    Args:
        labels: ``(W, H, Z)``, 1..16, 17 free, 255 unobserved.
    """
    colors = np.zeros((256, 3), dtype=np.float32)
    colors[: len(CLASS_COLORS)] = CLASS_COLORS
    colors[IGNORED_LABEL] = _UNOBSERVED
    solid = (labels != FREE_LABEL) & (labels != IGNORED_LABEL)
    depth = labels.shape[2]
    top = depth - 1 - solid[:, :, ::-1].argmax(axis=2)
    any_solid = solid.any(axis=2)
    observed = (labels == FREE_LABEL).any(axis=2)
    shown = np.take_along_axis(labels, top[..., None], axis=2)[..., 0]
    shown = np.where(any_solid, shown, np.where(observed, FREE_LABEL, IGNORED_LABEL))
    shade = _LOWEST_SHADE + (1 - _LOWEST_SHADE) * top / max(depth - 1, 1)
    picture = colors[shown] * np.where(any_solid, shade, 1.0)[..., None]
    picture = picture.transpose(1, 0, 2)[::-1]
    image = Image.fromarray(np.rint(picture).astype(np.uint8))
    return np.asarray(image.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.NEAREST))


def photographs(sample: EvaluationSample) -> Rgb:
    """Return the photographs of a rig in two columns, ``(480, 480, 3)``."""
    frame = sample.frame
    canvas = Image.new("RGB", (_SIDE_PX, _SIDE_PX))
    count = len(frame.images)
    rows = -(-count // 2)
    width, height = _SIDE_PX // 2, _SIDE_PX // rows
    for k, (image, size) in enumerate(zip(frame.images, frame.sizes_hw.tolist(), strict=True)):
        photo = np.clip(np.rint(image[: size[0], : size[1]]), 0, 255).astype(np.uint8)
        small = Image.fromarray(photo)
        small.thumbnail((width, height))
        canvas.paste(small, ((k % 2) * width, (k // 2) * height))
    return np.asarray(canvas)
