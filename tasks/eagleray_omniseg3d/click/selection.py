"""Selecting by click: similarity of rendered features, thresholds, levels of the hierarchy.

A click keeps the feature and the 3-D point under it as a prompt. High thresholds select a part,
low ones the whole object. The viewer, click files, click benchmarks and the Replica protocol all
compare by ``similarities``. All functions are stateless; (H, W) maps are raveled row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.model.view_rendering import MIN_OPACITY, RenderedView

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_EXACT_DISTANCE = "donot_use_mm_for_euclid_dist"
_HISTOGRAM_BINS = 128
_LEAST_NORM = 1e-12
_TINY = torch.finfo(torch.float16).tiny
"""The same for float16 features."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a click keeps.

    Args:
        feature: (D,) raw rendered feature.
        position: (3,) 3-D point in scene units.
        positive: False for a click on what must not be selected.
    """

    feature: FloatArray
    position: FloatArray
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """Result of scoring pixels against prompts.

    Args:
        score: (n,) best similarity, 0 at the threshold and 1 at identity; negative where
            unselected.
        mask: (n,) selected pixels.
    """

    score: FloatArray
    mask: BoolArray


def prompt_at(
    column: int,
    row: int,
    features: FloatArray,
    positions: FloatArray,
    opacity: FloatArray | None = None,
    *,
    positive: bool = True,
) -> Prompt:
    """Make a prompt from a click.

    Args:
        column: Pixel column.
        row: Pixel row.
        features: (H, W, D) rendered features.
        positions: (H, W, 3) rendered points, scene units.
        opacity: (H, W) sums of weights; None to take any click.
        positive: Whether the thing clicked at is to be selected.

    Raises:
        SelectionError: The click lies outside the image or on nothing.
    """
    height, width = features.shape[:2]
    if not (0 <= column < width and 0 <= row < height):
        raise SelectionError(
            f"click at column {column}, row {row} lies outside the image of "
            f"{width} x {height} pixels"
        )
    if opacity is not None and not opacity[row, column] >= MIN_OPACITY:
        raise SelectionError(
            f"click at column {column}, row {row} hits nothing (opacity "
            f"{float(opacity[row, column]):.2f}); click at a surface"
        )
    return Prompt(features[row, column].copy(), positions[row, column].copy(), positive)


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """How pixels are compared with what was clicked at.

    The viewer, click files, click benchmarks and the Replica protocol differ in nothing else.

    Args:
        normalize: Compare cosines; otherwise raw products, as the original's viewer does.
        distance_weight: W; similarities fade with exp(-W distance), per scene unit.
        fades_to_opposite: Far away they end at 0, opposite (the Replica protocol); otherwise at
            0.5, features at right angles (the original's viewer).
    """

    normalize: bool = False
    distance_weight: float = 0.0
    fades_to_opposite: bool = False


RAW_PRODUCTS = Similarity()
"""As the original's viewer compares."""


def similarities(
    features: Tensor,
    positions: Tensor,
    prompt_features: Tensor,
    prompt_positions: Tensor,
    how: Similarity,
) -> Tensor:
    """Return how similar pixels are to prompts, 0 opposite to 1 identical (for unit features).

    Products are rounded to the features' own type, and so is the 1 that is added where fading
    ends at 0: with float16 features this is the arithmetic of the Replica protocol.

    Args:
        features: (n, D) rendered features, float32 or float16.
        positions: (n, 3) float32 rendered points, scene units.
        prompt_features: (k, D) features under the clicks.
        prompt_positions: (k, 3) points under the clicks.
        how: What counts.

    Returns:
        (n, k) float32.
    """
    if how.normalize:
        features, prompt_features = (_unit(f) for f in (features, prompt_features))
    products = (features.float() @ prompt_features.float().T).to(features.dtype)
    if how.fades_to_opposite:
        shifted = (products + 1.0).float()
        return shifted * _fading(positions, prompt_positions, how) / 2.0
    return (products.float() * _fading(positions, prompt_positions, how) + 1.0) / 2.0


def _fading(positions: Tensor, prompt_positions: Tensor, how: Similarity) -> Tensor | float:
    if how.distance_weight <= 0:
        return 1.0
    distance = torch.cdist(positions, prompt_positions, compute_mode=_EXACT_DISTANCE)
    return torch.exp(-how.distance_weight * distance)


def select(
    features: FloatArray,
    positions: FloatArray,
    prompts: Sequence[Prompt],
    threshold: float,
    how: Similarity = RAW_PRODUCTS,
) -> Selection:
    """Select the pixels that are similar enough to any positive prompt.

    A pixel that is at least as similar to a negative prompt as to the best positive one is not
    selected.

    Args:
        features: (n, D) rendered features.
        positions: (n, 3) rendered points, scene units.
        prompts: Clicks, at least one of them positive.
        threshold: In [0, 1); pixels above it are selected.
        how: How pixels and prompts are compared.

    Raises:
        SelectionError: No positive prompt, or a threshold outside [0, 1).
    """
    if not any(prompt.positive for prompt in prompts):
        raise SelectionError("a selection needs at least one positive click")
    if not 0.0 <= threshold < 1.0:
        raise SelectionError(f"threshold must lie in [0, 1), found {threshold}")
    best = {True: np.zeros(len(features), np.float32), False: np.zeros(len(features), np.float32)}
    for prompt in prompts:
        value = likeness(features, positions, prompt, how)
        np.maximum(best[prompt.positive], value, out=best[prompt.positive])
    has_negative = any(not prompt.positive for prompt in prompts)
    mask = best[True] > threshold
    if has_negative:
        mask &= best[True] > best[False]
    kept = np.where(mask, best[True], np.float32(0.0))
    score = (kept - np.float32(threshold)) / np.float32(1.0 - threshold)
    return Selection(score.astype(np.float32), mask)


def likeness(
    features: FloatArray, positions: FloatArray, prompt: Prompt, how: Similarity = RAW_PRODUCTS
) -> FloatArray:
    """Return the (n,) similarities of pixels (n, D), (n, 3) to one prompt."""
    pixels = _tensor(features), _tensor(positions)
    clicks = _tensor(prompt.feature[None]), _tensor(prompt.position[None])
    return np.asarray(similarities(*pixels, *clicks, how)[:, 0].numpy(), np.float32)


def _tensor(values: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def likeness_in_view(view: RenderedView, prompt: Prompt, how: Similarity) -> FloatArray:
    """Return the (H, W) similarities of a rendered view to one prompt."""
    flat = likeness(view.flat_features, view.positions.reshape(-1, 3), prompt, how)
    return flat.reshape(view.opacity.shape)


def select_in_view(
    view: RenderedView, prompts: Sequence[Prompt], threshold: float, how: Similarity
) -> BoolArray:
    """Return the (H, W) selection of a rendered view; empty space is never selected.

    Raises:
        SelectionError: As ``select``.
    """
    flat = view.flat_features, view.positions.reshape(-1, 3)
    selection = select(*flat, prompts, threshold, how)
    return np.asarray(selection.mask.reshape(view.opacity.shape) & view.solid, np.bool_)


def best_threshold(
    scores: FloatArray, truth: BoolArray, thresholds: npt.NDArray[np.floating[Any]]
) -> float:
    """Return the threshold of the best IoU of ``scores > threshold`` with the truth.

    Args:
        scores: Scores of pixels, of any shape.
        truth: Pixels of the object, of the same shape.
        thresholds: Ascending candidates; of equally good ones the lowest is taken.
    """
    inside, everything = np.sort(scores[truth]), np.sort(scores.ravel())
    hits = len(inside) - np.searchsorted(inside, thresholds, side="right")
    selected = len(everything) - np.searchsorted(everything, thresholds, side="right")
    iou = hits / np.maximum(selected + len(inside) - hits, 1)
    return float(thresholds[int(iou.argmax())])


def level_thresholds(similarity: FloatArray, num_levels: int) -> list[float]:
    """Return thresholds at which one click selects ever smaller parts, coarsest first.

    They are the natural breaks of the similarities: the cuts into ``num_levels + 1`` classes with
    the least variance inside classes (Fisher 1958, exact on a histogram).

    Args:
        similarity: (n,) similarities to one prompt, as of ``similarities``.
        num_levels: Number of thresholds, 1 or more.

    Raises:
        SelectionError: Fewer distinct similarities than classes.
    """
    counts, edges = np.histogram(similarity, bins=_HISTOGRAM_BINS)
    filled = np.flatnonzero(counts)
    if len(filled) < num_levels + 1:
        raise SelectionError(
            f"{num_levels} levels need {num_levels + 1} distinct similarities, found {len(filled)}"
        )
    centers = 0.5 * (edges[filled] + edges[filled + 1])
    starts = _natural_breaks(centers, counts[filled].astype(np.float64), num_levels + 1)
    return [float(0.5 * (centers[s - 1] + centers[s])) for s in starts]


def _unit(features: Tensor) -> Tensor:
    norms = features.norm(dim=1, keepdim=True)
    return features / norms.clamp_min(_LEAST_NORM if features.dtype == torch.float32 else _TINY)


def unit_features(features: FloatArray) -> FloatArray:
    """Divide features (..., D) by their norm; zero features stay zero."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(norms, np.float32(_LEAST_NORM)), np.float32)


def feature_projection(features: FloatArray) -> FloatArray:
    """Return the (D, 3) matrix that shows features as colors: their first principal directions.

    Args:
        features: (n, D) features; they are normalized first.

    Returns:
        (D, 3) float32, eigenvectors of the centered covariance (divided by n), largest first;
        every column's largest entry is positive.
    """
    unit = unit_features(features).astype(np.float64)
    centered = unit - unit.mean(axis=0)
    _, vectors = np.linalg.eigh(centered.T @ centered / len(unit))
    axes = np.zeros((features.shape[1], 3))
    axes[:, : min(3, features.shape[1])] = vectors[:, ::-1][:, :3]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(3)])
    return (axes * np.where(signs == 0, 1.0, signs)).astype(np.float32)


def color_features(features: FloatArray, projection: FloatArray) -> FloatArray:
    """Return features as RGB in [0, 1], (..., 3) float32 (the mean is not subtracted)."""
    return np.clip(unit_features(features) @ projection * 0.5 + 0.5, 0.0, 1.0).astype(np.float32)


def color_scores(score: FloatArray) -> npt.NDArray[np.uint8]:
    """Return scores (H, W) as colors (H, W, 3): OpenCV's turbo, unselected red end in B, G, R
    order.

    The channel order is that of the original viewer, which shows OpenCV's B, G, R as R, G, B.
    """
    level = (255 * (1 - np.clip(score, 0.0, 1.0))).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), np.uint8)


def _natural_breaks(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], num_classes: int
) -> list[int]:
    """Return the first index of every class but the first, by dynamic programming."""
    count = len(values)
    w = np.concatenate([[0], np.cumsum(weights)])
    wx = np.concatenate([[0], np.cumsum(weights * values)])
    wxx = np.concatenate([[0], np.cumsum(weights * values**2)])
    first, last = np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing="ij")
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = wxx[last] - wxx[first] - (wx[last] - wx[first]) ** 2 / (w[last] - w[first])
    spread = np.where(last > first, spread, np.inf)
    cost = spread[0]
    choices = []
    for _ in range(num_classes - 1):
        options = cost[:, None] + spread
        choices.append(options.argmin(axis=0))
        cost = options.min(axis=0)
    starts, end = [], count
    for choice in reversed(choices):
        end = int(choice[end])
        starts.append(end)
    return starts[::-1]
