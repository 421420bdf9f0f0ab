"""Pixel counts of every pair of truth and predicted segments.

Sorting 64-bit pairs dominates the official evaluation. Here both id maps are compacted through a
lookup table over the range of ids, of which only the touched pages are ever resident, and one
`bincount` counts all pairs at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray_vision.panoptic.errors import (
    EmptySegmentError,
    LabelSizeError,
    SegmentListError,
    UnlistedSegmentError,
)
from eagleray_vision.panoptic.panoptic_map import NUM_SEGMENT_IDS, VOID_SEGMENT_ID

_UNLISTED, _VOID, _FIRST_LISTED = 0, 1, 2
"""Rows and columns of the full count table; unlisted is 0 because a fresh lookup table holds
zeros."""

_BLOCK_PX = 1 << 16
"""Pixels per pass: the intermediate arrays of a block stay in the processor's cache."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SegmentOverlap:
    """Pixel counts of an image by truth segment and predicted segment, both in list order.

    Attributes:
        counts: ``(n_truth, n_predicted)`` int64 pixels shared by each pair.
        predicted_on_void: ``(n_predicted,)`` int64 pixels of a prediction where the truth has id 0.
        predicted_areas: ``(n_predicted,)`` int64 pixels of each prediction.
        truth_areas: ``(n_truth,)`` int64 pixels of each truth segment.
        predicted_unlisted: Pixels whose predicted id is neither 0 nor in the list.
    """

    counts: IntArray
    predicted_on_void: IntArray
    predicted_areas: IntArray
    truth_areas: IntArray
    predicted_unlisted: int


def segment_overlap(
    truth_ids: npt.NDArray[np.integer[Any]],
    truth_list: IntArray,
    predicted_ids: npt.NDArray[np.integer[Any]],
    predicted_list: IntArray,
) -> SegmentOverlap:
    """Count the pixels shared by every truth and predicted segment.

    Args:
        truth_ids: ``(H, W)`` segment ids of the truth, 0 = void.
        truth_list: ``(n_truth,)`` the ids of interest, without 0.
        predicted_ids: ``(H, W)`` segment ids of the prediction, 0 = void.
        predicted_list: ``(n_predicted,)`` the ids of interest, without 0.

    Returns:
        The counts.

    Raises:
        LabelSizeError: The two maps differ in size.
        SegmentListError: A map holds ids outside 0..2^24-1.
    """
    if truth_ids.shape != predicted_ids.shape:
        raise LabelSizeError(
            f"truth has shape {truth_ids.shape}, prediction {predicted_ids.shape}; "
            "both must cover the same pixels"
        )
    num_rows = len(truth_list) + _FIRST_LISTED
    num_columns = len(predicted_list) + _FIRST_LISTED
    truth_table = _lookup_table(truth_ids, truth_list, num_columns)
    predicted_table = _lookup_table(predicted_ids, predicted_list, 1)
    flat_truth, flat_predicted = truth_ids.ravel(), predicted_ids.ravel()
    table = np.zeros(num_rows * num_columns, dtype=np.int64)
    block_px = max(_BLOCK_PX, len(table))
    for start in range(0, flat_truth.size, block_px):
        block = slice(start, start + block_px)
        codes = np.take(truth_table, flat_truth[block])
        codes += np.take(predicted_table, flat_predicted[block])
        table += np.bincount(codes, minlength=len(table))
    table = table.reshape(num_rows, num_columns)
    column_sums = table.sum(axis=0)
    return SegmentOverlap(
        counts=table[_FIRST_LISTED:, _FIRST_LISTED:],
        predicted_on_void=table[_VOID, _FIRST_LISTED:],
        predicted_areas=column_sums[_FIRST_LISTED:],
        truth_areas=table[_FIRST_LISTED:].sum(axis=1),
        predicted_unlisted=int(column_sums[_UNLISTED]),
    )


def check_listed(
    id_map: npt.NDArray[np.integer[Any]], listed: IntArray, areas: IntArray, *, what: str
) -> None:
    """Refuse a map and a segment list that do not name the same segments.

    Args:
        id_map: ``(H, W)`` segment ids, 0 = void.
        listed: ``(n,)`` ids in the list.
        areas: ``(n,)`` pixels found of each.
        what: What is checked, for the message.

    Raises:
        UnlistedSegmentError: Pixels carry an id that the list lacks.
        EmptySegmentError: A listed id has no pixels.
    """
    unlisted = np.setdiff1d(np.unique(id_map), np.append(listed, VOID_SEGMENT_ID))
    if len(unlisted):
        raise UnlistedSegmentError(
            f"{what}: the map holds ids {unlisted[:10].tolist()} which the segment list does not "
            "name; "
            "write the list from the map, or set these pixels to 0 (void)"
        )
    empty = listed[areas == 0]
    if len(empty):
        raise EmptySegmentError(
            f"{what}: the list names segments {empty[:10].tolist()} which have no pixels; "
            "leave them out of the list"
        )


def _lookup_table(
    id_map: npt.NDArray[np.integer[Any]], listed: IntArray, stride: int
) -> npt.NDArray[np.int64]:
    low = int(id_map.min(initial=0))
    high = max(int(id_map.max(initial=0)), int(listed.max(initial=0)))
    if low < 0 or high >= NUM_SEGMENT_IDS:
        raise SegmentListError(
            f"segment ids must lie in 0..{NUM_SEGMENT_IDS - 1}, the map holds {low}..{high}"
        )
    table = np.zeros(high + 1, dtype=np.int64)
    table[VOID_SEGMENT_ID] = _VOID * stride
    table[listed] = (np.arange(len(listed)) + _FIRST_LISTED) * stride
    return table
