"""IoU of semantic occupancy (docs/originals/pop3d.md, section 14)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_pop3d.voxels import FREE_LABEL, IGNORED_LABEL
from eagleray_vision.driving.lidarseg import NUM_CLASSES
from eagleray_vision.metrics.mean_iou import confusion_matrix

Labels = npt.NDArray[np.integer[Any]]
Counts = npt.NDArray[np.int64]

NUM_LABELS = NUM_CLASSES + 1
"""The 16 classes and free space, 1 to 17."""


@dataclass(frozen=True)
class OccupancyIou:
    """Results over a split.

    Attributes:
        per_class: ``(17,)`` in 0..1, classes 1 to 16 and free; 1 for a class that the split does
            not have, whatever was predicted, as in the original.
        present: ``(17,)`` bool, whether the split has the class.
        geometric: IoU of occupied voxels, whatever their class; NaN where nothing is occupied.
    """

    per_class: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]
    geometric: float

    @property
    def mean_17(self) -> float:
        """The original's mean: free space takes part, and absent classes count 1."""
        return float(self.per_class.mean())

    @property
    def mean_16(self) -> float:
        """Mean over the 16 classes; absent ones count 1."""
        return float(self.per_class[:NUM_CLASSES].mean())

    @property
    def mean_present(self) -> float:
        """Mean over those of the 16 classes that the split has; NaN where it has none."""
        kept = self.per_class[:NUM_CLASSES][self.present[:NUM_CLASSES]]
        return float(kept.mean()) if len(kept) else float("nan")


def count_labels(truth: Labels, predicted: Labels) -> Counts:
    """Count a frame's voxels by true and predicted label.

    Args:
        truth: Any shape, 1..17, or 255 (counts nowhere).
        predicted: Same shape, 1..17.

    Returns:
        ``(17, 17)``.
    """
    # The matrix numbers classes from 0; an ignored voxel keeps its mark.
    counted = truth != IGNORED_LABEL
    return confusion_matrix(truth[counted] - 1, predicted[counted] - 1, NUM_LABELS)[:, :NUM_LABELS]


def occupancy_iou(counts: Iterable[Counts]) -> OccupancyIou:
    """Add up the counts of all frames and compute the IoUs."""
    total = np.zeros((NUM_LABELS, NUM_LABELS), dtype=np.int64)
    for one in counts:
        total += one
    seen, predicted, correct = total.sum(axis=1), total.sum(axis=0), np.diag(total)
    union = seen + predicted - correct
    present = seen > 0
    per_class = np.where(present, correct / np.maximum(union, 1), 1.0)
    free = FREE_LABEL - 1
    occupied_both = total[:free, :free].sum()
    occupied_any = total.sum() - total[free, free]
    geometric = float(occupied_both / occupied_any) if occupied_any else float("nan")
    return OccupancyIou(per_class, present, geometric)
