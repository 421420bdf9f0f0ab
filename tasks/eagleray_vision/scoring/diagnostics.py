"""What a split's rows tell beside its metrics: which classes are taken for which, what kinds of
mistakes instances suffer, and precision against recall as the score falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import (
    CurvesDiagnostic,
    Diagnostic,
    LabelLayer,
    LabelLayers,
    MatrixDiagnostic,
    TableDiagnostic,
)
from eagleray_vision.images.resizing import resize_nearest, scaled_size
from eagleray_vision.metrics.panoptic_quality import IGNORED_SHARE, MATCH_IOU, pair_iou
from eagleray_vision.metrics.segment_overlap import segment_overlap
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic, resize_panoptic, without_crowds
from eagleray_vision.panoptic.picture import PICTURE_LONGEST_PX

KINDS = ("matched", "outline", "split", "merged", "other class", "missed", "false")
"""What becomes of a true segment; ``false``: a predicted one that belongs to none."""
SEGMENT_SCHEMA = {
    "segment_kinds": "list<int64>",
    "found_classes": "list<int64>",
    "found_scores": "list<float64>",
    "found_matched": "list<bool>",
}
"""Columns of a scored image that only diagnostics read."""
ROUGH_IOU = 0.25
"""A true segment whose best prediction of its class reaches this IoU, but does not match, was found
with a rough outline."""
_INSIDE = 0.5
"""A segment lies inside of another one with more than this share of its pixels."""
_MOST_POINTS = 200
_MOST_LINES = 20
_PERCENT = 100.0

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


def segment_row(
    truth: IndexedPanoptic, predicted: IndexedPanoptic, num_classes: int
) -> dict[str, list[Any]]:
    """Return the columns of ``SEGMENT_SCHEMA`` for one image.

    Pairs match as in panoptic quality: same class, IoU above 0.5. A true segment without a match
    is ``split`` where two or more predictions of its class lie inside of it and cover more than
    half of it together; ``merged`` where a prediction of its class holds more than half of it and
    more than half of another one; ``other class`` where a prediction of another class matches its
    outline; ``outline`` where the best prediction of its class has an IoU of 0.25 or more; else
    ``missed``.
    Predictions without a match are ``false`` unless they are a part of a split, the whole of a
    merge, the other class of a matching outline or a rough outline, or lie on void and crowds.

    Args:
        truth: Truth.
        predicted: Fused map of the same size; its crowd segments are void.
        num_classes: C.
    """
    visible = without_crowds(predicted)
    true, found = truth.segments(), visible.segments()
    overlap = segment_overlap(truth.id_map, true.ids, visible.id_map, found.ids)
    count, areas = overlap.counts, overlap.truth_areas
    own = ~true.is_crowd
    iou = pair_iou(overlap, areas)
    same = (true.category_ids[:, None] == found.category_ids[None, :]) & own[:, None]
    matched = same & (iou > MATCH_IOU)
    fits = ~same & own[:, None] & (iou > MATCH_IOU)
    part = same & (count > _INSIDE * overlap.predicted_areas[None, :])
    whole = same & (count > _INSIDE * areas[:, None])
    covered = np.where(part, count, 0).sum(axis=1)
    is_merge = whole.sum(axis=0) > 1
    conditions: list[tuple[BoolArray, BoolArray]] = [
        (matched.any(axis=1), matched),
        ((part.sum(axis=1) > 1) & (covered > _INSIDE * areas), part),
        ((whole & is_merge[None, :]).any(axis=1), whole & is_merge[None, :]),
        (fits.any(axis=1), fits),
        ((same & (iou >= ROUGH_IOU)).any(axis=1), same & (iou >= ROUGH_IOU)),
    ]
    kinds = np.full(len(true.ids), KINDS.index("missed"))
    explained = np.zeros(len(found.ids), bool)
    order = ("matched", "split", "merged", "other class", "outline")
    open_ = own.copy()
    for name, (holds, pairs) in zip(order, conditions, strict=True):
        chosen = open_ & holds
        kinds[chosen] = KINDS.index(name)
        explained |= pairs[chosen].any(axis=0)
        open_ &= ~holds
    on_crowd = np.where(own[:, None], 0, count).sum(axis=0)
    ignored = overlap.predicted_on_void + on_crowd > IGNORED_SHARE * overlap.predicted_areas
    counts = np.zeros((num_classes, len(KINDS)), np.int64)
    known = own & (true.category_ids < num_classes)
    np.add.at(counts, (true.category_ids[known], kinds[known]), 1)
    false = ~explained & ~ignored
    np.add.at(counts, (found.category_ids[false], KINDS.index("false")), 1)
    hit = matched.any(axis=0)
    judged = hit | ~ignored
    return {
        "segment_kinds": counts.ravel().tolist(),
        "found_classes": found.category_ids[judged].tolist(),
        "found_scores": predicted.scores[found.ids][judged].astype(float).tolist(),
        "found_matched": hit[judged].tolist(),
    }


def panoptic_diagnostics(
    rows: Iterable[Mapping[str, Any]], space: LabelSpace
) -> tuple[Diagnostic, ...]:
    """Return confusion, kinds of mistakes and precision-recall curves of a panoptic split.

    Args:
        rows: Rows with the columns of panoptic quality and of ``SEGMENT_SCHEMA``.
        space: Class list.
    """
    shape = (space.num_classes, space.num_classes + 1)
    confusion = np.zeros(shape, np.int64)
    kinds = np.zeros((space.num_classes, len(KINDS)), np.int64)
    classes, scores, hits = [], [], []
    for row in rows:
        confusion += np.asarray(row["confusion"], np.int64).reshape(shape)
        kinds += np.asarray(row["segment_kinds"], np.int64).reshape(kinds.shape)
        classes += list(row["found_classes"])
        scores += list(row["found_scores"])
        hits += list(row["found_matched"])
    found = np.asarray(classes, np.int64), np.asarray(scores), np.asarray(hits, bool)
    curves = _score_curves(*found, kinds[:, :-1].sum(axis=1), space)
    return (
        *confusion_diagnostics(confusion, space.class_names),
        _kinds_table(kinds, space),
        *([curves] if curves is not None else []),
    )


def confusion_diagnostics(
    confusion: npt.NDArray[np.integer[Any]], names: Sequence[str]
) -> tuple[MatrixDiagnostic, TableDiagnostic]:
    """Return a confusion matrix, and what follows from it by class.

    Args:
        confusion: (C, C + 1) pixels by true and predicted class; the last column is void.
        names: Names of the classes.
    """
    there = (confusion.sum(axis=1) > 0) | (confusion[:, :-1].sum(axis=0) > 0)
    kept = np.flatnonzero(there)
    shown = confusion[np.ix_(kept, [*kept.tolist(), confusion.shape[1] - 1])]
    chosen = tuple(names[index] for index in kept)
    matrix = MatrixDiagnostic(
        "Confusion of pixels",
        chosen,
        (*chosen, "void"),
        tuple(tuple(map(int, row)) for row in shown),
        note="Each row is one true class: where its pixels went. Classes that neither occur nor "
        "are predicted are left out.",
    )
    right = np.diag(confusion[:, :-1]).astype(float)
    true, predicted = confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)
    total = max(1, int(true.sum()))
    rows = {}
    for index in kept.tolist():
        others = confusion[index].copy()
        others[index] = 0
        rows[names[index]] = (
            _share(right[index], true[index] + predicted[index] - right[index]),
            _share(right[index], predicted[index]),
            _share(right[index], true[index]),
            _PERCENT * float(true[index]) / total,
            _share(float(others.max()), true[index]),
        )
    columns = ("iou", "precision", "recall", "share of pixels", "largest confusion")
    table = TableDiagnostic(
        "Pixels by class",
        columns,
        rows,
        note="In percent. Largest confusion: the share of its pixels that went to one other class.",
    )
    return matrix, table


def panoptic_layers(
    photo: npt.NDArray[np.uint8] | None,
    maps: Mapping[str, IndexedPanoptic | None],
    space: LabelSpace,
) -> LabelLayers | None:
    """Return maps as layers of the size of their pictures; None without a photograph.

    Args:
        photo: ``(H, W, 3)``.
        maps: By the name of the picture; None is left out.
        space: Class list.
    """
    if photo is None:
        return None
    size = picture_size((photo.shape[0], photo.shape[1]))
    layers = {}
    for name, one in maps.items():
        if one is None:
            continue
        shown = resize_panoptic(one, size)
        known = (shown.categories != VOID_CLASS) & ~shown.is_crowd
        known[0] = False
        places = np.where(known, np.cumsum(known), 0)
        scores = shown.scores[known].astype(float).tolist() if name != "truth" else []
        classes = shown.categories[known].tolist()
        layers[name] = LabelLayer(places[shown.id_map], classes, scores)
    return LabelLayers(space.class_names, space.colors, layers)


def semantic_layers(
    maps: Mapping[str, npt.NDArray[np.integer[Any]] | None],
    names: Sequence[str],
    colors: npt.NDArray[np.uint8],
) -> LabelLayers:
    """Return maps of classes as layers: one segment per class.

    Args:
        maps: ``(H, W)`` classes by the name of the picture, void where they are no class.
        names: Names of the classes.
        colors: ``(C, 3)``.
    """
    layers = {}
    for name, one in maps.items():
        if one is not None:
            ids = np.where((one >= 0) & (one < len(names)), one.astype(np.int64) + 1, 0)
            size = picture_size((ids.shape[0], ids.shape[1]))
            layers[name] = LabelLayer(resize_nearest(ids, size), range(len(names)))
    return LabelLayers(tuple(names), colors, layers)


def picture_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which pictures of a size are kept."""
    return scaled_size(size_hw, min(1.0, PICTURE_LONGEST_PX / max(size_hw)))


def _kinds_table(kinds: IntArray, space: LabelSpace) -> TableDiagnostic:
    totals = {"all": kinds, "things": kinds[space.is_thing], "stuff": kinds[~space.is_thing]}
    rows = {f"({name})": tuple(map(int, part.sum(axis=0))) for name, part in totals.items()}
    rows |= {
        name: tuple(map(int, kinds[index]))
        for index, name in enumerate(space.class_names)
        if kinds[index].any()
    }
    return TableDiagnostic(
        "What became of the segments",
        KINDS,
        rows,
        note="True segments by what was found of them, and false ones. Outline: found, with an IoU "
        "between 0.25 and 0.5. Split: several predictions inside of one segment. Merged: one "
        "prediction over several. Other class: the outline fits, the class does not.",
    )


def _score_curves(
    classes: IntArray, scores: FloatArray, hits: BoolArray, true: IntArray, space: LabelSpace
) -> CurvesDiagnostic | None:
    """Return precision over recall as the score falls, for all things and the most frequent."""
    lines = {}
    things = np.flatnonzero(space.is_thing)
    frequent = things[np.argsort(-true[things], kind="stable")][:_MOST_LINES]
    groups = {"all things": things, **{space.class_names[i]: np.array([i]) for i in frequent}}
    for name, members in groups.items():
        chosen, total = np.isin(classes, members), int(true[members].sum())
        if not chosen.any() or not total:
            continue
        order = np.argsort(-scores[chosen], kind="stable")
        good = np.cumsum(hits[chosen][order])
        precision = _PERCENT * good / np.arange(1, len(good) + 1)
        recall = _PERCENT * good / total
        last = np.flatnonzero(np.diff(scores[chosen][order], append=-np.inf))
        last = last[np.unique(np.linspace(0, len(last) - 1, _MOST_POINTS).round().astype(int))]
        lines[name] = (
            tuple(np.round(recall[last], 3).tolist()),
            tuple(np.round(precision[last], 3).tolist()),
        )
    if not lines:
        return None
    return CurvesDiagnostic(
        "Precision over recall of things",
        "recall in %",
        "precision in %",
        lines,
        note="Segments of the fused map, matched at an IoU above 0.5, from the highest score on.",
    )


def _share(part: float, whole: float) -> float | None:
    return _PERCENT * float(part) / float(whole) if whole else None
