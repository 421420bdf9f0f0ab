"""By which rule predictions are scored; the default is the official one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from eagleray.task import Settings
from eagleray_vision.metrics.panoptic_quality import PanopticStatistics, panoptic_statistics
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, without_crowds
from eagleray_vision.scoring.diagnostics import SEGMENT_SCHEMA

Comparison = Callable[[IndexedPanoptic, IndexedPanoptic, int], PanopticStatistics]
"""Compares truth and prediction of one size; the number is that of the classes."""

ROW_SCHEMA = {
    "sum_iou": "list<float64>",
    "true_positives": "list<int64>",
    "false_positives": "list<int64>",
    "false_negatives": "list<int64>",
    "sum_any_iou": "list<float64>",
    "confusion": "list<int64>",
    **SEGMENT_SCHEMA,
}
"""Columns of panoptic quality, mean IoU and diagnostics."""
_INSTANCE_SCHEMA = {
    "mask_size_hw": "list<int64>",
    **{
        f"{side}_{name}": kind
        for side in ("truth", "detected")
        for name, kind in {
            "category_ids": "list<int64>",
            "boxes_xywh": "list<float64>",
            "runs": "list<string>",
            "scores": "list<float64>",
            "is_crowd": "list<bool>",
            "areas": "list<float64>",
        }.items()
    },
}


class ScoringSettings(Settings):
    """What is scored."""

    mode: Literal["panoptic", "separate"] = Field(
        "panoptic",
        description="Where semantic IoU and AP come from: the fused map, or the heads as they are.",
    )
    coco_ap: bool = Field(
        False, description="Also report COCO AP of boxes and masks over the thing classes."
    )


def official_statistics(
    truth: IndexedPanoptic, predicted: IndexedPanoptic, num_classes: int
) -> PanopticStatistics:
    """Compare a fused map with its truth by the official COCO panoptic rule.

    Args:
        truth: Truth.
        predicted: Fused map of the same size; its crowd segments (things seen by the semantic head
            alone) are void.
        num_classes: C.

    Returns:
        Statistics of this image.

    Raises:
        LabelSizeError: The sizes differ.
    """
    visible = without_crowds(predicted)
    return panoptic_statistics(
        truth.id_map, truth.segments(), visible.id_map, visible.segments(), range(num_classes)
    )


@dataclass(frozen=True)
class ScoringRule:
    """How predictions are compared with truth, and what becomes of absent classes.

    Attributes:
        scored: What is scored.
        at_network_size: Resize truth to the network input, instead of scoring at its own size.
        compare: Statistics of panoptic quality of one image.
        absent_counts: Average over all classes, absent ones counting 0 (PQ) or leaving no mean
            (IoU), instead of over the classes that occur.
        polygons: Take the simplified polygons of a COCO file for the masks of the truth (AP).
        coco_defects: Keep what the original COCO file does to AP: annotation ids from 0, images
            without detections left out.
    """

    scored: ScoringSettings
    at_network_size: bool = False
    compare: Comparison = official_statistics
    absent_counts: bool = False
    polygons: bool = False
    coco_defects: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the columns of a scored image's row."""
        return {**ROW_SCHEMA, **(_INSTANCE_SCHEMA if self.scored.coco_ap else {})}
