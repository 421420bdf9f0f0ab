"""Pictures of what was found: colors of words, laid over the photograph, with their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from eagleray_vision.datasets.coco_stuff import COCO_STUFF
from eagleray_vision.datasets.indoor_panoramas import MATTERPORT3D, STANFORD2D3D
from eagleray_vision.datasets.wildpass import WILDPASS
from eagleray_vision.images.overlay import blend, color_labels
from eagleray_vision.images.palette import distinct_palette
from eagleray_vision.samples.semantic import SemanticPrediction, SemanticSample

Rgb = npt.NDArray[np.uint8]

_SPACES = (COCO_STUFF, WILDPASS, MATTERPORT3D, STANFORD2D3D)
_LEAST_SHARE = 0.001
"""Share of the pixels from which on a class is named in the legend."""
_TEXT_SHARE = 30
"""Lines of the legend per height of a picture."""
_SMALLEST_TEXT_PX = 10


def palette_of(classes: Sequence[str]) -> Rgb:
    """Return the colors of a vocabulary: a data set's own for its class list, else distinct ones.

    Returns:
        ``(K, 3)`` uint8.
    """
    for space in _SPACES:
        if space.class_names == tuple(classes):
            return space.colors
    return distinct_palette(len(classes))


def sample_pictures(
    sample: SemanticSample, prediction: SemanticPrediction, classes: Sequence[str]
) -> Mapping[str, Rgb]:
    """Return photograph, truth and prediction, all of the size of the labels or the photograph."""
    colors = palette_of(classes)
    pictures = {"prediction": color_labels(prediction.classes, colors)}
    if sample.photo is not None:
        photo = Image.fromarray(sample.photo)
        height, width = sample.output_hw
        pictures["input"] = np.asarray(photo.resize((width, height)), dtype=np.uint8)
    if sample.truth is not None:
        pictures["truth"] = color_labels(sample.truth, colors)
    return pictures


def overlay_picture(photo: Rgb, found: npt.NDArray[np.integer[Any]], classes: Sequence[str]) -> Rgb:
    """Lay classes over a photograph and name those that occur.

    Args:
        photo: ``(H, W, 3)``.
        found: ``(H, W)`` classes.
        classes: Their names.

    Returns:
        ``(H, W, 3)``.
    """
    colors = palette_of(classes)
    mixed = blend(photo, color_labels(found, colors))
    counts = np.bincount(found.ravel(), minlength=len(classes))[: len(classes)]
    shown = [k for k in np.argsort(-counts, kind="stable") if counts[k] > _LEAST_SHARE * found.size]
    return with_legend(mixed, [(classes[k], tuple(map(int, colors[k]))) for k in shown])


def with_legend(picture: Rgb, entries: Sequence[tuple[str, tuple[int, ...]]]) -> Rgb:
    """Write names on their colors into the upper left corner, as many as there is room for.

    Args:
        picture: ``(H, W, 3)``.
        entries: Names and colors.
    """
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    size = max(_SMALLEST_TEXT_PX, picture.shape[0] // _TEXT_SHARE)
    font = ImageFont.load_default(size)
    line = size + 4
    for row, (name, color) in enumerate(entries[: max(1, picture.shape[0] // line)]):
        top = row * line
        right = 8 + draw.textlength(name, font=font)
        draw.rectangle((0, top, right, top + line), fill=color)
        ink = "black" if sum(color) > 3 * 140 else "white"
        draw.text((4, top), name, fill=ink, font=font)
    return np.asarray(canvas, dtype=np.uint8)
