"""Learning-free fusion of detections and semantic labels into one panoptic map.

Seamless: Porzi et al., "Seamless Scene Segmentation", CVPR 2019. Instances claim pixels
in descending order of score, the semantic argmax fills what is left. Masks are pasted one at a time
inside their boxes, so that n masks never cost n full-size images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_vision.detection.mask_paste import paste_mask_in_box
from eagleray_vision.panoptic.errors import LabelSizeError
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic

MASK_THRESHOLD = 0.5
"""A pasted probability above this is foreground, as in the original."""

VOID_CATEGORY = 255
"""Category of segment 0."""


@dataclass(frozen=True)
class FusionThresholds:
    """Parameters of the Seamless fusion.

    Attributes:
        score: Detections need a higher score than this.
        overlap: A detection is dropped if more than this share of its mask is taken already.
        min_stuff_area_px: Semantic classes with fewer free pixels are dropped.
    """

    score: float = 0.5
    overlap: float = 0.5
    min_stuff_area_px: int = 4096


def fuse_panoptic(
    semantic: npt.NDArray[np.integer[Any]],
    boxes_yxyx: Tensor,
    thing_classes: Tensor,
    scores: Tensor,
    mask_logits: Tensor,
    *,
    num_stuff: int,
    thresholds: FusionThresholds,
) -> IndexedPanoptic:
    """Fuse the detections and the semantic labels of one image.

    An instance whose pasted mask is empty stays as a segment without pixels, as in the original.
    Thing regions that only the semantic labels show become crowd segments: they count for semantic
    IoU and are void for panoptic quality.

    Args:
        semantic: ``(H, W)`` class per pixel, stuff classes first; 255 where there is none.
        boxes_yxyx: ``(n, 4)`` float boxes in pixels of the same image; n may be 0.
        thing_classes: ``(n,)`` int64, 0 = first thing class.
        scores: ``(n,)`` float.
        mask_logits: ``(n, h, w)`` float logits over the boxes.
        num_stuff: Number of stuff classes S; thing k is class ``S + k``.
        thresholds: Parameters of the fusion.

    Returns:
        Panoptic map of size ``(H, W)``; segments are the instances by falling score, then the
        semantic classes in ascending order.

    Raises:
        LabelSizeError: The semantic map is not two-dimensional.
    """
    if semantic.ndim != 2:
        raise LabelSizeError(f"semantic labels have shape (H, W), found {semantic.shape}")
    canvas = _Canvas(semantic.shape)
    kept = torch.nonzero(scores > thresholds.score).flatten()
    order = kept[torch.argsort(scores[kept], descending=True, stable=True)]
    for index in order.tolist():
        patch, window = paste_mask_in_box(
            mask_logits[index].sigmoid(), boxes_yxyx[index], canvas.size_hw
        )
        canvas.add_instance(
            (patch > MASK_THRESHOLD).numpy(force=True),
            window,
            category=num_stuff + int(thing_classes[index]),
            score=float(scores[index]),
            max_overlap=thresholds.overlap,
        )
    canvas.fill_semantic(semantic, num_stuff, thresholds.min_stuff_area_px)
    return canvas.finish()


class _Canvas:
    """A panoptic map under construction: pixels are claimed once and never change hands."""

    def __init__(self, size_hw: tuple[int, ...]) -> None:
        self.size_hw = (size_hw[0], size_hw[1])
        self._id_map = np.zeros(self.size_hw, dtype=np.int32)
        self._categories = [VOID_CATEGORY]
        self._scores = [0.0]
        self._is_crowd = [False]

    def add_instance(
        self,
        mask: npt.NDArray[np.bool_],
        window: tuple[int, int, int, int],
        *,
        category: int,
        score: float,
        max_overlap: float,
    ) -> None:
        """Claim the free part of an instance, unless too much of it is taken (step 3)."""
        y0, x0, y1, x1 = window
        region = self._id_map[y0:y1, x0:x1]
        taken = mask & (region != 0)
        area = int(mask.sum())
        if area and int(taken.sum()) / area > max_overlap:
            return
        region[mask & ~taken] = self._add_segment(category, score, is_crowd=False)

    def fill_semantic(
        self, semantic: npt.NDArray[np.integer[Any]], num_stuff: int, min_area_px: int
    ) -> None:
        """Give every class with enough free pixels one segment (step 4)."""
        free = self._id_map == 0
        areas = np.bincount(semantic[free], minlength=int(semantic.max(initial=-1)) + 1)
        table = np.zeros(len(areas), dtype=np.int32)
        for category in np.flatnonzero(areas >= min_area_px).tolist():
            if category == VOID_CATEGORY:
                continue
            table[category] = self._add_segment(category, 1.0, is_crowd=category >= num_stuff)
        self._id_map[free] = table[semantic[free]]

    def finish(self) -> IndexedPanoptic:
        """Return the map."""
        return IndexedPanoptic(
            self._id_map,
            np.array(self._categories, dtype=np.int64),
            np.array(self._is_crowd, dtype=np.bool_),
            np.array(self._scores, dtype=np.float32),
        )

    def _add_segment(self, category: int, score: float, *, is_crowd: bool) -> int:
        self._categories.append(category)
        self._scores.append(score)
        self._is_crowd.append(is_crowd)
        return len(self._categories) - 1
