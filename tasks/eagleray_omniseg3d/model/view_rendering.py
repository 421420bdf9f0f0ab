"""Rendering whole views of a scene, and remembering them as long as its weights do not change."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eagleray_omniseg3d.model.rendering import render_rays
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_omniseg3d.scenes.poses import FloatArray
from eagleray_omniseg3d.scenes.rays import camera_directions, world_rays

FloatImage = npt.NDArray[np.float32]
BoolImage = npt.NDArray[np.bool_]

MIN_OPACITY = 0.5
"""A ray hits something where it is at least half opaque."""
_CACHED_BYTES = 1 << 30
_RAYS_AT_ONCE = {"cpu": 1 << 13, "cuda": 1 << 16}
"""Rays between two questions whether an image is still wanted: 0.2 s of one core."""


@dataclass(frozen=True, slots=True)
class ViewSample:
    """A camera, and what it saw if that is known.

    Args:
        name: Name of the view.
        camera_matrix: (3, 3) float64 intrinsics in pixels.
        world_from_cam: (3, 4) float64, scene coordinates.
        size_hw: Height and width in pixels.
        rgb: (H, W, 3) uint8, or None.
    """

    name: str
    camera_matrix: FloatArray
    world_from_cam: FloatArray
    size_hw: tuple[int, int]
    rgb: npt.NDArray[np.uint8] | None = None


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
    def flat_features(self) -> FloatImage:
        """The features row by row, (H W, D)."""
        return self.features.reshape(-1, self.features.shape[2])

    @property
    def solid(self) -> BoolImage:
        """Where something was hit, (H, W)."""
        return np.asarray(self.opacity > MIN_OPACITY, np.bool_)

    @property
    def num_bytes(self) -> int:
        """Memory that the maps take."""
        maps = (self.rgb, self.depth, self.opacity, self.features, self.positions)
        return sum(image.nbytes for image in maps)


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


def _camera_key(sample: ViewSample) -> tuple[Any, ...]:
    matrix, pose = sample.camera_matrix.tobytes(), sample.world_from_cam.tobytes()
    return matrix, pose, sample.size_hw


def _image(parts: Sequence[torch.Tensor], shape: tuple[int, ...]) -> FloatImage:
    return np.asarray(torch.cat(list(parts)).float().cpu().numpy().reshape(shape), np.float32)


def _weights_state(model: SceneModel) -> tuple[int, ...]:
    tensors = [*model.parameters(), *model.buffers()]
    return tuple(v for t in tensors for v in (t.data_ptr(), 0 if t.is_inference() else t._version))
