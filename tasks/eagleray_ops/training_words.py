"""The words of training, and the classes that they stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eagleray.task import SettingsError
from eagleray_ops.settings import OpsSettings
from eagleray_vision.datasets.coco_stuff import COCO_STUFF
from eagleray_vision.panoptic.label_space import VOID_CLASS


def training_words(settings: OpsSettings) -> tuple[str, ...]:
    """Return the words of the classes that are trained on, by their numbers in training.

    Raises:
        SettingsError: ``data.words`` names a class that COCO-Stuff has not.
    """
    if not settings.data.words:
        return COCO_STUFF.class_names
    unknown = sorted(set(settings.data.words) - set(COCO_STUFF.class_names))
    if unknown:
        raise SettingsError(
            f"data.words names {', '.join(map(repr, unknown))}, which COCO-Stuff's classes are "
            f"not: they are written as in {', '.join(COCO_STUFF.class_names[91:95])}"
        )
    return tuple(settings.data.words[name] for name in _trained_classes(settings))


def training_classes(settings: OpsSettings) -> npt.NDArray[np.uint8]:
    """Return the number in training of each of 256 stored classes, 255 for those left out."""
    table = np.full(VOID_CLASS + 1, VOID_CLASS, dtype=np.uint8)
    for number, name in enumerate(_trained_classes(settings)):
        table[COCO_STUFF.class_names.index(name)] = number
    return table


def _trained_classes(settings: OpsSettings) -> list[str]:
    words = settings.data.words
    return [name for name in COCO_STUFF.class_names if not words or name in words]
