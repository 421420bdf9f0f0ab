"""Mean intersection over union of semantic labels.

Rows of the confusion matrix are true classes, columns predicted ones, with one more column for
predictions that are void: a labeled pixel without an answer is an error, an unlabeled pixel counts
nowhere. This is the rule of the Cityscapes evaluation and of Seamless alike. IoU of class
c is ``n_cc / (row + column - n_cc)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.metrics.errors import LabelRangeError, NoClassError
from eagleray_vision.panoptic.errors import LabelSizeError

_NUM_LABELS = 256
"""Labels are stored in 8 bits."""


@dataclass(frozen=True)
class MeanIou:
    """Semantic quality of a split.

    Attributes:
        mean: Mean IoU in 0..1; NaN if a class is absent and ``faithful`` was asked for.
        per_class: ``(C,)`` float64, NaN for a class that neither occurs nor is predicted.
        pixel_accuracy: Share of labeled pixels that are right, in 0..1.
        num_classes: Number of classes in the mean.
    """

    mean: float
    per_class: npt.NDArray[np.float64]
    pixel_accuracy: float
    num_classes: int


def confusion_matrix(
    truth: npt.NDArray[np.integer[Any]],
    predicted: npt.NDArray[np.integer[Any]],
    num_classes: int,
    void_class: int = 255,
) -> npt.NDArray[np.int64]:
    """Count the pixels of each true and predicted class.

    Args:
        truth: Any shape, classes ``0..num_classes-1`` or ``void_class``.
        predicted: Same shape, same values.
        num_classes: C.
        void_class: Value of unlabeled (truth) and unanswered (prediction) pixels.

    Returns:
        ``(C, C + 1)`` int64; the last column holds labeled pixels predicted void.

    Raises:
        LabelSizeError: The shapes differ.
        LabelRangeError: A value is neither a class nor void.

    Example:
        >>> confusion_matrix(np.array([0, 1, 255]), np.array([0, 255, 1]), num_classes=2).tolist()
        [[1, 0, 0], [0, 0, 1]]
    """
    if truth.shape != predicted.shape:
        raise LabelSizeError(
            f"truth has shape {truth.shape}, prediction {predicted.shape}; resize one of them first"
        )
    table = _class_table(num_classes, void_class)
    rows = _to_rows(truth, table, num_classes, what="truth")
    columns = _to_rows(predicted, table, num_classes, what="prediction")
    width = num_classes + 1
    counts = np.bincount((rows * width + columns).ravel(), minlength=width * width)
    return counts.reshape(width, width)[:num_classes].astype(np.int64)


def compute_mean_iou(
    confusions: Iterable[npt.NDArray[np.integer[Any]]], *, faithful: bool = False
) -> MeanIou:
    """Turn the confusion matrices of a split into IoU per class and its mean.

    Args:
        confusions: One ``(C, C + 1)`` matrix per image; integers, so their order does not matter.
        faithful: Let an absent class make the mean NaN, as the original Seamless code does, instead
            of leaving it out.

    Returns:
        Mean and per-class IoU.

    Raises:
        NoClassError: No labeled or predicted pixel at all.
    """
    total = sum((np.asarray(one, dtype=np.int64) for one in confusions), start=np.int64(0))
    if np.ndim(total) != 2 or not np.any(total):
        raise NoClassError("mean IoU: no labeled pixel was evaluated; check labels and class list")
    matrix = np.asarray(total)
    right = np.diagonal(matrix)
    union = matrix.sum(axis=1) + matrix[:, : len(matrix)].sum(axis=0) - right
    per_class = np.full(len(matrix), np.nan)
    np.divide(right, union, out=per_class, where=union > 0)
    present = union > 0
    mean = per_class.mean() if faithful else per_class[present].mean()
    accuracy = float(right.sum() / matrix.sum())
    return MeanIou(float(mean), per_class, accuracy, int(present.sum()))


def mean_accuracy(confusion: npt.NDArray[np.integer[Any]]) -> float:
    """Return the share of each true class's pixels that are right, averaged over those that occur.

    Args:
        confusion: ``(C, C + 1)`` of a whole split.

    Example:
        >>> mean_accuracy(np.array([[3, 1, 0], [0, 1, 0]]))
        0.875
    """
    counts = confusion.sum(axis=1)
    present = counts > 0
    return float((np.diagonal(confusion)[present] / counts[present]).mean())


def _class_table(num_classes: int, void_class: int) -> npt.NDArray[np.int64]:
    if not 0 < num_classes <= void_class < _NUM_LABELS:
        raise LabelRangeError(
            f"classes 0..{num_classes - 1} and void {void_class} must be apart and below "
            f"{_NUM_LABELS}"
        )
    table = np.full(_NUM_LABELS, -1, dtype=np.int64)
    table[:num_classes] = np.arange(num_classes)
    table[void_class] = num_classes
    return table


def _to_rows(
    labels: npt.NDArray[np.integer[Any]],
    table: npt.NDArray[np.int64],
    num_classes: int,
    *,
    what: str,
) -> npt.NDArray[np.int64]:
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    rows = table[labels] if low >= 0 and high < _NUM_LABELS else np.full(labels.shape, -1)
    if rows.min(initial=0) < 0:
        unknown = np.setdiff1d(np.unique(labels), np.flatnonzero(table >= 0))
        raise LabelRangeError(
            f"{what} holds labels {unknown[:10].tolist()}, allowed are 0..{num_classes - 1} and "
            "void; map the labels to the class list first"
        )
    return np.asarray(rows, dtype=np.int64)
