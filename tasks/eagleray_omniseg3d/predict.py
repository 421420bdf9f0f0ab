"""Rendering views, clicking at objects, and what a user's click file asks for."""

from __future__ import annotations

import json
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eagleray.task import InputError
from eagleray_omniseg3d.data import ClickSample, InstanceSample, ViewSample
from eagleray_omniseg3d.labels import IdImage
from eagleray_omniseg3d.model.rendering import render_rays
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_omniseg3d.rays import camera_directions, world_rays
from eagleray_omniseg3d.replica_protocol import (
    ObjectScore,
    ReplicaProtocolSettings,
    score_object,
)
from eagleray_omniseg3d.selection import Prompt, prompt_at, select, similarities

FloatImage = npt.NDArray[np.float32]
BoolImage = npt.NDArray[np.bool_]

_THRESHOLDS = np.arange(1024) / 1024.0
_CACHED_BYTES = 1 << 30
_RAYS_AT_ONCE = {"cpu": 1 << 13, "cuda": 1 << 16}
"""Rays between two questions whether an image is still wanted: 0.2 s of one core."""


@dataclass(frozen=True, slots=True)
class RenderedView:
    """A rendered view, all maps of one size.

    Args:
        rgb: (H, W, 3) float32 in [0, 1].
        depth: (H, W) float32 along the camera's z axis, scene units, not divided by the opacity.
        opacity: (H, W) float32.
        features: (H, W, D) float32, raw.
        positions: (H, W, 3) float32, scene coordinates.
    """

    rgb: FloatImage
    depth: FloatImage
    opacity: FloatImage
    features: FloatImage
    positions: FloatImage

    @property
    def num_bytes(self) -> int:
        """Memory that the maps take."""
        maps = (self.rgb, self.depth, self.opacity, self.features, self.positions)
        return sum(image.nbytes for image in maps)


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


@torch.no_grad()
def render_view(
    model: SceneModel,
    sample: ViewSample,
    *,
    with_features: bool = True,
    faithful: bool = True,
    check: Callable[[], None] | None = None,
) -> RenderedView:
    """Render one view.

    Args:
        model: The trained scene.
        sample: Its camera.
        with_features: False leaves the features out (shape (H, W, 0)).
        faithful: See LookSettings.
        check: Called now and then; what it raises ends the rendering.
    """
    device = model.device
    matrix = torch.from_numpy(sample.camera_matrix).float().to(device)
    directions = camera_directions(matrix, sample.size_hw)
    pose = torch.from_numpy(sample.world_from_cam).float().to(device)
    rays_o, rays_d = world_rays(directions, pose)
    look = model.look(with_features=with_features, faithful=faithful)
    at_once = _RAYS_AT_ONCE.get(device.type, _RAYS_AT_ONCE["cuda"]) if check else len(rays_o)
    parts = []
    pieces = (torch.split(rays, at_once) for rays in (rays_o, rays_d))
    for some_o, some_d in zip(*pieces, strict=True):
        if check is not None:
            check()
        parts.append(
            render_rays(model.field, some_o, some_d, model.occupancy.density_bitfield, look)
        )
    shape = sample.size_hw
    return RenderedView(
        rgb=_image([p.rgb.clamp(0, 1) for p in parts], (*shape, 3)),
        depth=_image([p.depth for p in parts], shape),
        opacity=_image([p.opacity for p in parts], shape),
        features=_image([p.features for p in parts], (*shape, look.feature_dim)),
        positions=_image([p.positions for p in parts], (*shape, 3)),
    )


class ViewCache:
    """Rendered views of models, as long as their weights do not change.

    Several objects are looked for in the same views; the oldest views go first.

    Args:
        max_bytes: Most memory of a model's views; the newest view is kept whatever its size.
    """

    def __init__(self, max_bytes: int = _CACHED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._views: weakref.WeakKeyDictionary[
            SceneModel, tuple[tuple[int, ...], OrderedDict[Any, RenderedView]]
        ] = weakref.WeakKeyDictionary()

    def render(
        self,
        model: SceneModel,
        sample: ViewSample,
        *,
        with_features: bool = True,
        faithful: bool,
        check: Callable[[], None] | None = None,
    ) -> RenderedView:
        """Return a view, rendered now or before; arguments as of ``render_view``.

        Without ``with_features`` the features may be there all the same.
        """
        state = _weights_state(model)
        known, views = self._views.get(model, (state, OrderedDict()))
        if known != state:
            views = OrderedDict()
        self._views[model] = (state, views)
        place = (*_camera_key(sample), faithful)
        for richness in (True,) if with_features else (True, False):
            if (*place, richness) in views:
                views.move_to_end((*place, richness))
                return views[*place, richness]
        view = render_view(
            model, sample, with_features=with_features, faithful=faithful, check=check
        )
        views[*place, with_features] = view
        while len(views) > 1 and sum(v.num_bytes for v in views.values()) > self._max_bytes:
            views.popitem(last=False)
        return view


_CACHE = ViewCache()


def click_object(model: SceneModel, sample: ClickSample, *, faithful: bool) -> ClickPrediction:
    """Click at an object, find the threshold on the reference view, select in the targets.

    Similarities are cosines here, so that thresholds mean the same in all scenes. The threshold
    is the one with the best IoU on the reference view, the lowest one on ties.
    """
    view = _CACHE.render(model, sample.reference, faithful=faithful)
    prompt = prompt_at(sample.column, sample.row, view.features, view.positions)
    likeness = _likeness(view, prompt)
    threshold = best_threshold(likeness, sample.reference_mask)
    masks = []
    for target, _ in sample.targets:
        seen = _CACHE.render(model, target, faithful=faithful)
        masks.append(_likeness(seen, prompt) > threshold)
    return ClickPrediction(threshold, likeness > threshold, tuple(masks))


def best_threshold(likeness: FloatImage, truth: BoolImage) -> float:
    """Return the threshold of the best IoU of ``likeness > threshold`` with the truth."""
    inside, everything = np.sort(likeness[truth]), np.sort(likeness.ravel())
    hits = len(inside) - np.searchsorted(inside, _THRESHOLDS, side="right")
    chosen = len(everything) - np.searchsorted(everything, _THRESHOLDS, side="right")
    iou = hits / np.maximum(chosen + len(inside) - hits, 1)
    return float(_THRESHOLDS[int(iou.argmax())])


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
        distance_weight: Similarity fades with distance, per scene unit.
        normalize: Compare cosines; otherwise raw products, as the original's viewer does.
        views: Views to select in; the reference comes first.
    """

    reference: ViewSample
    clicks: tuple[tuple[int, int, bool], ...]
    threshold: float
    distance_weight: float
    normalize: bool
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
        values = json.loads(path.read_text())
        view = str(values["view"])
        clicks = [(int(c[0]), int(c[1]), len(c) < 3 or bool(c[2])) for c in values["clicks"]]
        threshold = float(values.get("threshold", 0.5))
        weight = float(values.get("distance_weight", 0.0))
        views = [str(name) for name in values.get("views", [])]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
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
    masks = [select_in_view(view, prompts, request) for view in views]
    names = tuple(view.name for view in request.views)
    return SelectedViews(names, tuple(views), tuple(masks))


def select_in_view(
    view: RenderedView, prompts: Sequence[Prompt], request: ClickRequest
) -> BoolImage:
    """Return the (H, W) selection of a rendered view; empty space is never selected."""
    found = select(
        view.features.reshape(-1, view.features.shape[2]),
        view.positions.reshape(-1, 3),
        prompts,
        request.threshold,
        distance_weight=request.distance_weight,
        normalize=request.normalize,
    )
    return np.asarray(found.mask.reshape(view.opacity.shape) & (view.opacity > 0.5), np.bool_)


def _likeness(view: RenderedView, prompt: Prompt) -> FloatImage:
    height, width, dim = view.features.shape
    features, positions = view.features.reshape(-1, dim), view.positions.reshape(-1, 3)
    flat = similarities(features, positions, prompt, normalize=True)
    return flat.reshape(height, width)


def _camera_key(sample: ViewSample) -> tuple[Any, ...]:
    matrix, pose = sample.camera_matrix.tobytes(), sample.world_from_cam.tobytes()
    return matrix, pose, sample.size_hw


def _image(parts: Sequence[torch.Tensor], shape: tuple[int, ...]) -> FloatImage:
    return np.asarray(torch.cat(list(parts)).float().cpu().numpy().reshape(shape), np.float32)


def _weights_state(model: SceneModel) -> tuple[int, ...]:
    tensors = [*model.parameters(), *model.buffers()]
    return tuple(v for t in tensors for v in (t.data_ptr(), 0 if t.is_inference() else t._version))
