"""Language features against words: which class they name, and how well a query finds its points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import InputError

Scores = npt.NDArray[np.floating[Any]]


def best_class(
    features: Tensor, text: Tensor, classes: Sequence[int], *, normalize: bool = False
) -> Tensor:
    """Return the class of the single word that a feature is likest to.

    Args:
        features: ``(..., D)``.
        text: ``(T, D)`` vectors of words.
        classes: Class of each word; words of class 0 are not asked.
        normalize: Compare directions; else the plain product, as the original does. The answer is
            the same where all vectors of ``text`` are of one length.

    Returns:
        ``(...)`` int64.
    """
    numbers = torch.tensor(classes, device=features.device)
    asked = numbers > 0
    rows = text[asked].to(features)
    if normalize:
        features, rows = F.normalize(features, dim=-1), F.normalize(rows, dim=-1)
    return numbers[asked][(features @ rows.T).argmax(dim=-1)]


def average_precisions(
    truth: npt.NDArray[Any], scores: Scores, visible: npt.NDArray[np.integer[Any]]
) -> tuple[float, float]:
    """Return the average precision of a query over all points, and over those that a camera sees.

    Args:
        truth: ``(n,)`` or ``(n, 1)``; 1 where a point belongs to the query.
        scores: ``(n,)``, any scale.
        visible: ``(m,)`` rows of the points that cameras see; a point that two cameras see stands
            there twice, and counts twice.

    Raises:
        InputError: Lengths differ, an index is beyond the sweep, or no point belongs to the query.
    """
    flat = truth.reshape(-1)
    if len(flat) != len(scores):
        raise InputError(
            f"the annotation has {len(flat)} points, its sweep {len(scores)}; it belongs to "
            "another sweep"
        )
    if len(visible) and (visible.min() < 0 or visible.max() >= len(flat)):
        raise InputError(
            f"matching points name row {int(visible.max())} of a sweep of {len(flat)} points"
        )
    if not flat.any():
        raise InputError("no point of the sweep belongs to the query: it has no precision")
    seen = flat[visible]
    return (
        float(average_precision_score(flat, scores)),
        float(average_precision_score(seen, scores[visible])) if seen.any() else float("nan"),
    )
