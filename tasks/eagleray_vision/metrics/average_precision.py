"""COCO average precision of boxes and masks, by pycocotools.

Lin et al., "Microsoft COCO", ECCV 2014; AP is the mean over IoU thresholds 0.50, 0.55 ... 0.95. One
image contributes its true and its detected instances with masks as compressed run lengths
(`InstanceComparison`, small enough for a Parquet row); the evaluation itself runs over all of them
at once, because ranking by score crosses images.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eagleray_vision.panoptic.errors import SegmentListError

IOU_TYPES: tuple[Literal["bbox", "segm"], ...] = ("bbox", "segm")
_STAT_NAMES = ("ap", "ap50", "ap75")


@dataclass(frozen=True)
class Instances:
    """Instances of one image, true or detected.

    Attributes:
        category_ids: ``(n,)`` int64.
        boxes_xywh: ``(n, 4)`` float64 pixels of the original image.
        runs: ``n`` masks as compressed COCO run lengths.
        scores: ``(n,)`` float64; 1 for truth.
        is_crowd: ``(n,)`` bool; False for detections.
        areas: ``(n,)`` float64 pixels of the mask.
    """

    category_ids: npt.NDArray[np.int64]
    boxes_xywh: npt.NDArray[np.float64]
    runs: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    is_crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self.runs)


@dataclass(frozen=True)
class InstanceComparison:
    """What one image contributes to average precision.

    Attributes:
        size_hw: Height and width of the masks in pixels.
        truth: True instances.
        detected: Detected instances.
    """

    size_hw: tuple[int, int]
    truth: Instances
    detected: Instances

    def to_row(self) -> dict[str, Any]:
        """Return the comparison as flat lists, one column each, for a Parquet row."""
        row: dict[str, Any] = {"mask_size_hw": list(self.size_hw)}
        for prefix, instances in (("truth", self.truth), ("detected", self.detected)):
            row[f"{prefix}_category_ids"] = instances.category_ids.tolist()
            row[f"{prefix}_boxes_xywh"] = instances.boxes_xywh.ravel().tolist()
            row[f"{prefix}_runs"] = list(instances.runs)
            row[f"{prefix}_scores"] = instances.scores.tolist()
            row[f"{prefix}_is_crowd"] = instances.is_crowd.tolist()
            row[f"{prefix}_areas"] = instances.areas.tolist()
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> InstanceComparison:
        """Read back what `to_row` wrote; other columns are ignored."""
        height, width = row["mask_size_hw"]
        return cls((height, width), _read_instances(row, "truth"), _read_instances(row, "detected"))


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of a split, each in 0..1, NaN where there is no truth to find.

    Attributes:
        box: ``ap``, ``ap50``, ``ap75`` of boxes.
        mask: ``ap``, ``ap50``, ``ap75`` of masks.
        box_per_class: AP of boxes by category id.
        mask_per_class: AP of masks by category id.
    """

    box: Mapping[str, float]
    mask: Mapping[str, float]
    box_per_class: Mapping[int, float]
    mask_per_class: Mapping[int, float]


def instances_from_masks(
    masks: Sequence[npt.NDArray[np.bool_]],
    category_ids: Sequence[int],
    *,
    scores: Sequence[float] | None = None,
    is_crowd: Sequence[bool] | None = None,
    boxes_xywh: npt.NDArray[np.floating[Any]] | None = None,
) -> Instances:
    """Collect instances given as masks.

    Args:
        masks: ``n`` arrays ``(H, W)`` of booleans.
        category_ids: ``n`` categories.
        scores: ``n`` scores; 1 where left out.
        is_crowd: ``n`` flags; False where left out.
        boxes_xywh: ``(n, 4)`` boxes in pixels; the extents of the masks where left out.

    Returns:
        The instances, masks as run lengths.
    """
    encoded = [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]
    number = len(encoded)
    if boxes_xywh is None:
        boxes_xywh = coco_mask.toBbox(encoded) if encoded else np.zeros((0, 4))
    return Instances(
        np.asarray(category_ids, dtype=np.int64).reshape(number),
        np.asarray(boxes_xywh, dtype=np.float64).reshape(number, 4),
        tuple(code["counts"].decode("ascii") for code in encoded),
        np.ones(number) if scores is None else np.asarray(scores, np.float64).reshape(number),
        np.zeros(number, bool) if is_crowd is None else np.asarray(is_crowd, bool).reshape(number),
        np.asarray(coco_mask.area(encoded) if encoded else [], dtype=np.float64),
    )


def mask_runs(mask: npt.NDArray[np.bool_]) -> str:
    """Return a mask, ``(H, W)`` booleans, as compressed COCO run lengths."""
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    runs: str = code["counts"].decode("ascii")
    return runs


def polygon_runs(polygons: Sequence[Sequence[float]], size_hw: tuple[int, ...]) -> str | None:
    """Fill polygons and return them as compressed COCO run lengths.

    Args:
        polygons: Flat lists x0, y0, x1, y1, ... in pixels; they are united.
        size_hw: Height and width of the mask in pixels.

    Returns:
        Run lengths, None without any polygon.
    """
    if not polygons:
        return None
    code = coco_mask.merge(coco_mask.frPyObjects([list(one) for one in polygons], *size_hw[:2]))
    runs: str = code["counts"].decode("ascii")
    return runs


def compute_average_precision(
    comparisons: Iterable[InstanceComparison],
    category_ids: Sequence[int],
    *,
    faithful: bool = False,
) -> AveragePrecision:
    """Evaluate the detections of a split.

    Args:
        comparisons: One per image, in unit order.
        category_ids: Thing categories to average over.
        faithful: Do as the original Seamless code: count annotations from 0 (COCO evaluation takes
            a match with annotation 0 for none, which loses one true positive) and leave out images
            without any detection (which overestimates AP).

    Returns:
        AP of boxes and masks.
    """
    truth, detections = coco_content(
        comparisons, category_ids, first_annotation_id=0 if faithful else 1
    )
    return evaluate_coco(truth, detections, only_images_with_detections=faithful)


def coco_content(
    comparisons: Iterable[InstanceComparison],
    category_ids: Sequence[int],
    *,
    first_annotation_id: int = 1,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write comparisons as COCO truth and COCO results; images are numbered in the order given.

    Args:
        comparisons: One per image.
        category_ids: Thing categories.
        first_annotation_id: Number of the first annotation.

    Returns:
        The truth (``images``, ``categories``, ``annotations``) and the list of results.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id, comparison in enumerate(comparisons):
        height, width = comparison.size_hw
        images.append({"id": image_id, "height": height, "width": width})
        for entry in _entries(comparison.truth, comparison.size_hw, image_id):
            annotations.append({"id": first_annotation_id + len(annotations), **entry})
        results += _entries(comparison.detected, comparison.size_hw, image_id)
    categories = [{"id": int(category)} for category in category_ids]
    return {"images": images, "categories": categories, "annotations": annotations}, results


def evaluate_coco(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    only_images_with_detections: bool = False,
) -> AveragePrecision:
    """Run the COCO evaluation over files in its own format.

    Args:
        truth: ``images``, ``categories`` and ``annotations`` of a COCO detection JSON.
        results: Detections {image_id, category_id, score, bbox, segmentation}.
        only_images_with_detections: Leave out images without any detection.

    Returns:
        AP of boxes and masks.

    Raises:
        SegmentListError: A result names an image or category that the truth lacks.
    """
    _check_results(truth, results)
    by_kind = {}
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {"info": {}, **truth}
        reference.createIndex()
        for kind in IOU_TYPES:
            by_kind[kind] = _evaluate(reference, results, kind, only_images_with_detections)
    return AveragePrecision(
        by_kind["bbox"][0], by_kind["segm"][0], by_kind["bbox"][1], by_kind["segm"][1]
    )


def _evaluate(
    reference: Any,
    results: Sequence[Mapping[str, Any]],
    kind: str,
    only_images_with_detections: bool,
) -> tuple[dict[str, float], dict[int, float]]:
    categories = sorted(reference.getCatIds())
    if not results:
        has_truth = {
            entry["category_id"]
            for entry in reference.dataset["annotations"]
            if not entry["iscrowd"]
        }
        overall = 0.0 if has_truth and not only_images_with_detections else float("nan")
        per_class = {one: 0.0 if one in has_truth else float("nan") for one in categories}
        return dict.fromkeys(_STAT_NAMES, overall), per_class
    evaluation = COCOeval(reference, reference.loadRes([dict(entry) for entry in results]), kind)
    if only_images_with_detections:
        evaluation.params.imgIds = sorted({entry["image_id"] for entry in results})
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {
        category: _mean_of_valid(precision[:, :, position])
        for position, category in enumerate(evaluation.params.catIds)
    }
    stats = [float(value) if value >= 0 else float("nan") for value in evaluation.stats[:3]]
    return dict(zip(_STAT_NAMES, stats, strict=True)), per_class


def _mean_of_valid(precision: npt.NDArray[np.float64]) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")


def _check_results(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    images = {image["id"] for image in truth["images"]}
    strangers = {entry["image_id"] for entry in results} - images
    if strangers:
        raise SegmentListError(
            f"detections name images {sorted(map(str, strangers))[:5]} which the truth lacks"
        )
    categories = {category["id"] for category in truth["categories"]}
    unknown = {entry["category_id"] for entry in results} - categories
    if unknown:
        raise SegmentListError(
            f"detections name categories {sorted(unknown)[:10]}, the truth has "
            f"{sorted(categories)[:20]}"
        )


def _entries(instances: Instances, size_hw: tuple[int, int], image_id: int) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": int(instances.category_ids[index]),
            "score": float(instances.scores[index]),
            "bbox": instances.boxes_xywh[index].tolist(),
            "iscrowd": int(instances.is_crowd[index]),
            "area": float(instances.areas[index]),
            "segmentation": {"size": list(size_hw), "counts": instances.runs[index]},
        }
        for index in range(len(instances))
    ]


def _read_instances(row: Mapping[str, Any], prefix: str) -> Instances:
    return Instances(
        np.asarray(row[f"{prefix}_category_ids"], np.int64),
        np.asarray(row[f"{prefix}_boxes_xywh"], np.float64).reshape(-1, 4),
        tuple(row[f"{prefix}_runs"]),
        np.asarray(row[f"{prefix}_scores"], np.float64),
        np.asarray(row[f"{prefix}_is_crowd"], np.bool_),
        np.asarray(row[f"{prefix}_areas"], np.float64),
    )
