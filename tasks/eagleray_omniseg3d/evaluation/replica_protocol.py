"""The Replica instance protocol: one reference view prompts, all other views are
scored.

An object's reference view is the one in which it covers most area. The features of its pixels
there are the positive, those of the rest the negative prompts; the threshold is the best one on
the reference view. An object scores the mean IoU of the other views, and 0 if it is seen in fewer
than two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray_omniseg3d.click.selection import Similarity, best_threshold, similarities
from eagleray_omniseg3d.settings import ReplicaProtocolSettings

OBJECT_IDS: Mapping[str, tuple[int, ...]] = {
    "office_0": (
        *(3, 4, 7, 8, 9, 10, 12, 14, 17, 19, 21, 23, 26, 28, 29, 30, 36, 37, 40, 42, 44, 46, 54),
        *(55, 57, 58, 61),
    ),
    "office_1": (*(3, 7, 9, 11, 13, 14, 15, 17, 23, 24, 29, 32, 33, 36, 37, 39, 42, 44, 45, 46),),
    "office_2": (
        *(2, 8, 9, 13, 14, 17, 19, 23, 27, 40, 41, 47, 49, 51, 54, 58, 60, 65, 67, 70, 71, 72, 73),
        *(78, 85, 90, 92, 93),
    ),
    "office_3": (
        *(3, 8, 11, 14, 15, 18, 19, 25, 29, 30, 32, 33, 38, 39, 43, 51, 54, 55, 61, 65, 72, 76, 78),
        *(82, 87, 91, 95, 96, 101, 111),
    ),
    "office_4": (*(1, 2, 6, 7, 9, 11, 17, 22, 23, 26, 33, 34, 39, 47, 49, 51, 52, 53, 55, 56),),
    "room_0": (
        *(5, 6, 7, 10, 13, 14, 16, 25, 32, 33, 35, 46, 51, 53, 55, 60, 64, 67, 68, 83, 86, 87, 92),
    ),
    "room_1": (*(1, 2, 4, 6, 7, 9, 10, 11, 16, 18, 24, 28, 32, 36, 37, 44, 48, 52, 54, 56),),
    "room_2": (*(3, 5, 6, 7, 8, 9, 11, 12, 16, 18, 22, 26, 27, 37, 38, 39, 40, 43, 49, 55, 56),),
}
"""Evaluated instances per scene (original test_replica)."""
EXCLUDED_FRAMES: Mapping[str, range] = {
    "office_1": range(474, 504),
    "office_4": range(618, 734),
}
"""Frames of the 900 that are left out (original test_replica)."""
_THRESHOLD_STEP = 1 / 128
_PIXELS_AT_ONCE = 1 << 14

LabelArray = npt.NDArray[np.integer[Any]]


class RenderedViews(Protocol):
    """Truth and rendered maps of the frames of a scene, read when they are needed."""

    def labels(self, view_idx: int) -> LabelArray:
        """Return (H, W) instance ids."""
        ...

    def features(self, view_idx: int) -> npt.NDArray[np.float16]:
        """Return (H, W, D) float16 rendered features."""
        ...

    def positions(self, view_idx: int) -> npt.NDArray[np.float32]:
        """Return (H, W, 3) float32 rendered points, scene units."""
        ...


@dataclass(frozen=True, slots=True)
class _Prompts:
    features: Tensor
    positions: Tensor


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """Result of one object.

    Args:
        iou: Mean IoU over the views but the reference; 0 if there is none.
        reference_idx: The reference view, -1 if the object is never seen.
        threshold: Threshold found on it.
        num_views: Views in which the object is seen.
    """

    iou: float
    reference_idx: int
    threshold: float
    num_views: int


def area_weights(
    labels: Sequence[LabelArray], depths_mm: Sequence[LabelArray], object_id: int
) -> npt.NDArray[np.float64]:
    """Return each view's weight for an object: the sum of squared depths over its pixels, mm^2."""
    return np.array(
        [
            float(np.square(depth[label == object_id].astype(np.float64)).sum())
            for label, depth in zip(labels, depths_mm, strict=True)
        ]
    )


def score_object(
    views: RenderedViews,
    weights: npt.NDArray[np.float64],
    object_id: int,
    settings: ReplicaProtocolSettings | None = None,
    device: torch.device | str = "cpu",
) -> ObjectScore:
    """Score one object over all views of its scene.

    Args:
        views: Truth and rendered maps.
        weights: (V,) area weights, see ``area_weights``; 0 where the object is not seen.
        object_id: Its instance id.
        settings: Numbers of the protocol.
        device: Where similarities are computed.
    """
    settings = settings or ReplicaProtocolSettings()
    order = np.argsort(-weights, kind="stable")
    seen = [int(i) for i in order if weights[i] > 0]
    if not seen:
        return ObjectScore(0.0, -1, float("nan"), 0)
    reference = seen[0]
    truth = views.labels(reference).ravel() == object_id
    features, positions = _maps(views, reference, device)
    positive = _prompts(features, positions, np.flatnonzero(truth), settings.num_samples)
    negative = _prompts(features, positions, np.flatnonzero(~truth), settings.num_samples)
    fade = 1.0 / np.sqrt(weights[reference])

    def scores(view_idx: int) -> npt.NDArray[np.float32]:
        return _scores(*_maps(views, view_idx, device), positive, negative, settings, fade)

    # The lowest score that the protocol's range of similarities, 0 to 2, leaves for negatives.
    lowest = -2.0 * settings.negative_weight
    thresholds = np.arange(lowest, 2.0, _THRESHOLD_STEP).astype(np.float32)
    threshold = np.float32(best_threshold(scores(reference), truth, thresholds))
    others = []
    for view_idx in seen[1:]:
        mask, target = scores(view_idx) > threshold, views.labels(view_idx).ravel() == object_id
        others.append((mask & target).sum() / (mask | target).sum())
    iou = float(np.mean(others)) if others else 0.0
    return ObjectScore(iou, reference, float(threshold), len(seen))


def _maps(views: RenderedViews, view_idx: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Return float16 features, normalized in the type they are stored in, and positions."""
    stored = torch.from_numpy(views.features(view_idx)).to(device).flatten(0, 1)
    unit = stored / stored.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float16).tiny)
    positions = torch.from_numpy(views.positions(view_idx)).to(device).flatten(0, 1)
    return unit, positions.float()


def _prompts(
    features: Tensor, positions: Tensor, pixels: npt.NDArray[np.int64], num_samples: int
) -> _Prompts:
    thinned = torch.from_numpy(pixels[:: 1 + len(pixels) // num_samples]).to(features.device)
    return _Prompts(features[thinned], positions[thinned])


def _scores(
    features: Tensor,
    positions: Tensor,
    positive: _Prompts,
    negative: _Prompts,
    settings: ReplicaProtocolSettings,
    fade: float,
) -> npt.NDArray[np.float32]:
    parts = []
    for first in range(0, len(features), _PIXELS_AT_ONCE):
        some = slice(first, first + _PIXELS_AT_ONCE)
        pixel = _Prompts(features[some], positions[some])
        near = _likeness(pixel, positive, settings.positive_position_weight * fade)
        score = torch.quantile(near, settings.positive_quantile, dim=1)
        if len(negative.features):
            far = _likeness(pixel, negative, settings.negative_position_weight * fade)
            worst = torch.quantile(far, settings.negative_quantile, dim=1)
            score = score - settings.negative_weight * worst
        parts.append(score)
    return np.asarray(torch.cat(parts).cpu().numpy(), np.float32)


def _likeness(pixel: _Prompts, prompts: _Prompts, position_weight: float) -> Tensor:
    """Return the protocol's similarities, 0 to 2, (n, k)."""
    how = Similarity(distance_weight=position_weight, fades_to_opposite=True)
    return 2.0 * similarities(
        pixel.features, pixel.positions, prompts.features, prompts.positions, how
    )
