"""Boxes of one picture, and how good found ones are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Things:
    """The things of one picture.

    Attributes:
        boxes_xyxy: ``(n, 4)`` float32 pixels: left, top, right and bottom edges.
        classes: ``(n,)`` int64.
        scores: ``(n,)`` float32, how sure each one is; 1 for truth.
    """

    boxes_xyxy: Floats
    classes: npt.NDArray[np.int64]
    scores: Floats = field(default_factory=lambda: np.empty(0, np.float32))

    def scaled(self, by_x: float, by_y: float) -> Things:
        """Return the things of the picture at another size."""
        factors = np.array([by_x, by_y, by_x, by_y], np.float32)
        return Things(self.boxes_xyxy * factors, self.classes, self.scores)


def iou(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of boxes ``(n, 4)`` and ``(m, 4)`` as ``(n, m)``."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (bottom_right - top_left).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    overlaps: Floats = (common / np.maximum(union, 1e-9)).astype(np.float32)
    return overlaps


def average_precision(
    pictures: Sequence[tuple[Things, Things]], class_idx: int, least_iou: float = 0.5
) -> float:
    """Return the average precision of a class: the area below precision over recall, with precision
    made falling from the right (Pascal VOC 2010 and later, all points).

    A found box is right if no surer one has taken the true box that it overlaps most.

    Args:
        pictures: Truth and what was found, per picture.
        class_idx: The class.
        least_iou: A found box that overlaps less is wrong.

    Returns:
        0 to 1; NaN where there is no truth.
    """
    num_true, ranked = 0, list[tuple[float, bool]]()
    for truth, found in pictures:
        wanted = truth.boxes_xyxy[truth.classes == class_idx]
        mine = found.classes == class_idx
        order = np.argsort(-found.scores[mine], kind="stable")
        overlaps = iou(found.boxes_xyxy[mine][order], wanted)
        num_true += len(wanted)
        taken: set[int] = set()
        for score, overlap in zip(found.scores[mine][order], overlaps, strict=True):
            best = int(overlap.argmax()) if len(overlap) else -1
            is_right = best >= 0 and overlap[best] >= least_iou and best not in taken
            taken |= {best} if is_right else set()
            ranked.append((float(score), is_right))
    if not num_true:
        return float("nan")
    hits = np.array([right for _, right in sorted(ranked, key=lambda one: -one[0])], float)
    recall = np.concatenate([[0.0], hits.cumsum() / num_true])
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * falling).sum())
