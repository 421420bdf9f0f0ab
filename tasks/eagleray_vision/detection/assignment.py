"""Assign boxes to ground truth by overlap, and choose which of them enter the losses.

An assignment is an int64 tensor with one entry per box: the index of its ground-truth box, or
``NEGATIVE`` (background), or ``VOID`` (takes no part in any loss).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eagleray_vision.detection.boxes import box_iou

NEGATIVE = -1
"""The box is background."""
VOID = -2
"""The box takes no part in the losses."""

_TRUTH_CHUNK = 16
"""Ground-truth boxes compared at a time: bounds memory at 16 numbers per box."""


@dataclass(frozen=True, slots=True)
class BestOverlap:
    """Overlaps of n boxes with m ground-truth boxes.

    Args:
        iou: Best IoU of each box, ``(n,)``; 0 without ground truth.
        truth_idx: Its ground-truth box, the first one on ties, ``(n,)`` int64.
        best_iou: Best IoU of each ground-truth box, ``(m,)``; 0 without boxes.
        best_box_idx: Its box, the first one on ties, ``(m,)`` int64.
    """

    iou: Tensor
    truth_idx: Tensor
    best_iou: Tensor
    best_box_idx: Tensor


def best_overlaps(boxes: Tensor, truth: Tensor, *, inclusive: bool = False) -> BestOverlap:
    """Find for every box its best ground-truth box, and the reverse.

    Args:
        boxes: ``(n, 4)`` boxes.
        truth: ``(m, 4)`` ground-truth boxes of the same dtype.
        inclusive: Corners are inclusive pixels.
    """
    num_boxes, num_truth = boxes.shape[0], truth.shape[0]
    iou = boxes.new_zeros(num_boxes)
    truth_idx = torch.zeros(num_boxes, dtype=torch.int64, device=boxes.device)
    best_iou = boxes.new_zeros(num_truth)
    best_box_idx = torch.zeros(num_truth, dtype=torch.int64, device=boxes.device)
    if num_boxes == 0:
        return BestOverlap(iou, truth_idx, best_iou, best_box_idx)
    for start in range(0, num_truth, _TRUTH_CHUNK):
        stop = min(start + _TRUTH_CHUNK, num_truth)
        chunk = box_iou(truth[start:stop], boxes, inclusive=inclusive).nan_to_num_(0.0)
        best_iou[start:stop], best_box_idx[start:stop] = chunk.max(dim=1)
        chunk_iou, chunk_idx = chunk.max(dim=0)
        better = chunk_iou > iou
        truth_idx = torch.where(better, chunk_idx + start, truth_idx)
        iou = torch.where(better, chunk_iou, iou)
    return BestOverlap(iou, truth_idx, best_iou, best_box_idx)


def assign_by_iou(
    boxes: Tensor,
    truth: Tensor,
    *,
    pos_threshold: float,
    neg_threshold: float,
    neg_threshold_low: float = 0.0,
    force_best: Literal["none", "one", "ties"] = "none",
    force_min_iou: float = 0.0,
    inclusive: bool = False,
) -> Tensor:
    """Assign each box to the ground truth that it overlaps most.

    Args:
        boxes: ``(n, 4)`` anchors or proposals.
        truth: ``(m, 4)`` ground-truth boxes.
        pos_threshold: IoU from which a box is positive.
        neg_threshold: IoU below which a box is negative; in between it is void.
        neg_threshold_low: IoU from which a box may be negative; below it is void.
        force_best: ``one``: afterwards each ground-truth box takes the box that overlaps it most;
            ``ties``: all boxes that overlap it as much; later ground truth overrides earlier.
        force_min_iou: With ``one`` the overlap must be above it, with ``ties`` at or above it.
        inclusive: Corners are inclusive pixels.

    Returns:
        ``(n,)`` int64: ground-truth index, ``NEGATIVE`` or ``VOID``. Without ground truth every
        box is negative.

    Example:
        >>> truth = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        >>> boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [6, 6, 8, 8]])
        >>> assign_by_iou(boxes, truth, pos_threshold=0.7, neg_threshold=0.3).tolist()
        [0, -2, -1]
    """
    overlap = best_overlaps(boxes, truth, inclusive=inclusive)
    match = torch.full_like(overlap.truth_idx, VOID)
    negative = (overlap.iou < neg_threshold) & (overlap.iou >= neg_threshold_low)
    match = torch.where(negative, NEGATIVE, match)
    if truth.shape[0] == 0:
        return match
    match = torch.where(overlap.iou >= pos_threshold, overlap.truth_idx, match)
    if force_best == "one":
        _force_one(match, overlap, force_min_iou)
    elif force_best == "ties":
        _force_ties(match, boxes, truth, overlap, force_min_iou, inclusive=inclusive)
    return match


def _force_one(match: Tensor, overlap: BestOverlap, min_iou: float) -> None:
    """Give each ground truth its best box, in place; the last one wins a shared box."""
    truth_idx = torch.arange(overlap.best_iou.shape[0], device=match.device)
    usable = overlap.best_iou > min_iou
    winner = torch.full_like(match, -1)
    winner.scatter_reduce_(0, overlap.best_box_idx[usable], truth_idx[usable], "amax")
    torch.where(winner >= 0, winner, match, out=match)


def _force_ties(
    match: Tensor,
    boxes: Tensor,
    truth: Tensor,
    overlap: BestOverlap,
    min_iou: float,
    *,
    inclusive: bool,
) -> None:
    """Give each ground truth all boxes tied at its best IoU, in place, in order."""
    for start in range(0, truth.shape[0], _TRUTH_CHUNK):
        stop = min(start + _TRUTH_CHUNK, truth.shape[0])
        iou = box_iou(truth[start:stop], boxes, inclusive=inclusive)
        best = overlap.best_iou[start:stop, None]
        tied = (iou == best) & (best >= min_iou)
        order = torch.arange(start, stop, device=match.device)[:, None]
        winner = torch.where(tied, order, -1).amax(dim=0)
        torch.where(winner >= 0, winner, match, out=match)


def choose(indices: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Choose ``count`` of some indices.

    Args:
        indices: ``(n,)`` int64.
        count: How many to keep; all are kept if there are no more.
        generator: CPU generator of the random choice (the result is in random order); ``None``
            keeps the first ones in order.
    """
    if generator is None:
        return indices[:count]
    order = torch.randperm(indices.shape[0], generator=generator)[:count]
    return indices[order.to(indices.device)]


def sample_matches(
    match: Tensor,
    num_samples: int,
    pos_ratio: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Choose positive and negative boxes for the losses.

    At most ``int(num_samples * pos_ratio)`` positives are kept; negatives fill up to
    ``num_samples``, also the places that positives left free.

    Args:
        match: ``(n,)`` assignment.
        num_samples: Boxes wanted.
        pos_ratio: Largest share of positives.
        generator: As in ``choose``.

    Returns:
        Indices of the positives and of the negatives, int64.
    """
    positive = choose((match >= 0).nonzero()[:, 0], int(num_samples * pos_ratio), generator)
    room = num_samples - positive.shape[0]
    return positive, choose((match == NEGATIVE).nonzero()[:, 0], room, generator)
