"""Rendering views, clicking at objects, and what a user's click file asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eagleray.task import InputError
from eagleray_omniseg3d.click.selection import (
    Similarity,
    best_threshold,
    likeness_in_view,
    prompt_at,
    select_in_view,
)
from eagleray_omniseg3d.data import ClickSample, InstanceSample
from eagleray_omniseg3d.evaluation.labels import IdImage
from eagleray_omniseg3d.evaluation.replica_protocol import ObjectScore, score_object
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_omniseg3d.model.view_rendering import (
    BoolImage,
    FloatImage,
    RenderedView,
    ViewCache,
    ViewSample,
)
from eagleray_omniseg3d.settings import ReplicaProtocolSettings
from eagleray_vision.json_file import read_json, whole_number

_THRESHOLDS = np.arange(1024) / 1024.0
_COSINES = Similarity(normalize=True)


@dataclass(frozen=True, slots=True)
class ClickPrediction:
    """What one click selects.

    Args:
        threshold: Threshold found on the reference view.
        reference_mask: (H, W) bool there.
        masks: Selection in each target view.
    """

    threshold: float
    reference_mask: BoolImage
    masks: tuple[BoolImage, ...]


_CACHE = ViewCache()


def click_object(model: SceneModel, sample: ClickSample, *, faithful: bool) -> ClickPrediction:
    """Click at an object, find the threshold on the reference view, select in the targets.

    Similarities are cosines here, so that thresholds mean the same in all scenes. The threshold
    is the one with the best IoU on the reference view, the lowest one on ties.
    """
    view = _CACHE.render(model, sample.reference, faithful=faithful)
    prompt = prompt_at(sample.column, sample.row, view.features, view.positions)
    likeness = likeness_in_view(view, prompt, _COSINES)
    threshold = best_threshold(likeness, sample.reference_mask, _THRESHOLDS)
    masks = []
    for target, _ in sample.targets:
        seen = _CACHE.render(model, target, faithful=faithful)
        masks.append(likeness_in_view(seen, prompt, _COSINES) > threshold)
    return ClickPrediction(threshold, likeness > threshold, tuple(masks))


def score_instance(
    model: SceneModel,
    sample: InstanceSample,
    settings: ReplicaProtocolSettings,
    *,
    faithful: bool,
) -> ObjectScore:
    """Score one object by the Replica protocol, rendering the views that show it."""

    class _Rendered:
        def labels(self, view_idx: int) -> IdImage:
            return sample.labels[view_idx]

        def features(self, view_idx: int) -> npt.NDArray[np.float16]:
            view = _CACHE.render(model, sample.views[view_idx], faithful=faithful)
            return view.features.astype(np.float16)

        def positions(self, view_idx: int) -> FloatImage:
            return _CACHE.render(model, sample.views[view_idx], faithful=faithful).positions

    views = _Rendered()
    return score_object(views, sample.weights, sample.object_id, settings, model.device)


@dataclass(frozen=True, slots=True)
class ClickRequest:
    """What a user's click file asks for.

    Args:
        reference: View that is clicked at.
        clicks: (column, row, positive) each.
        threshold: In [0, 1).
        similarity: How pixels are compared with the clicks.
        views: Views to select in; the reference comes first.
    """

    reference: ViewSample
    clicks: tuple[tuple[int, int, bool], ...]
    threshold: float
    similarity: Similarity
    views: tuple[ViewSample, ...]


@dataclass(frozen=True, slots=True)
class SelectedViews:
    """Result of a click request: what each view shows, and what of it is selected."""

    names: tuple[str, ...]
    views: tuple[RenderedView, ...]
    masks: tuple[BoolImage, ...]


def read_click_file(path: Path) -> dict[str, Any]:
    """Read a click file: ``{"view": name, "clicks": [[column, row], [column, row, false]],
    "threshold": 0.7, "views": [names]}``; a third value of false marks a negative click.

    Raises:
        InputError: The file is no such JSON.
    """
    try:
        values = read_json(path, InputError)
        view = str(values["view"])
        clicks = [_click(click) for click in values["clicks"]]
        threshold = float(values.get("threshold", 0.5))
        weight = float(values.get("distance_weight", 0.0))
        views = values.get("views", [])
        if not isinstance(views, list):
            raise TypeError(f"views are a {type(views).__name__}, no list")
        views = [str(name) for name in views]
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError) as error:
        raise InputError(
            f'{path}: a click file is {{"view": name, "clicks": [[column, row], ...], '
            f'"threshold": 0.7, "views": [names]}}; found {error!r}'
        ) from error
    return {
        "view": view,
        "clicks": clicks,
        "threshold": threshold,
        "distance_weight": weight,
        "views": views,
    }


def _click(click: Any) -> tuple[int, int, bool]:
    positive = click[2] if len(click) > 2 else True
    if positive not in (True, False):
        raise TypeError(f"the third value of a click is true or false, found {positive!r:.40}")
    return whole_number(click[0], "column"), whole_number(click[1], "row"), bool(positive)


def answer_clicks(model: SceneModel, request: ClickRequest, *, faithful: bool) -> SelectedViews:
    """Select what a click file asks for, in all its views.

    Raises:
        SelectionError: A click lies outside the image or on nothing, or the threshold is
            impossible.
    """
    reference = _CACHE.render(model, request.reference, faithful=faithful)
    prompts = [
        prompt_at(
            column,
            row,
            reference.features,
            reference.positions,
            reference.opacity,
            positive=positive,
        )
        for column, row, positive in request.clicks
    ]
    views = [_CACHE.render(model, view, faithful=faithful) for view in request.views]
    masks = [select_in_view(v, prompts, request.threshold, request.similarity) for v in views]
    names = tuple(view.name for view in request.views)
    return SelectedViews(names, tuple(views), tuple(masks))
