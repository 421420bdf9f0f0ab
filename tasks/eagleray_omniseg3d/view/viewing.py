"""What the browser viewer asks for: where to begin, how a camera sees the scene, picks, downloads.

The engine's viewer knows these functions by their names (``start``, ``look``, ``pick``,
``thresholds``, ``save``) and hands back what ``pick`` gave as ``selection``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from eagleray.task import Settings, Tool
from eagleray_omniseg3d.click.objects import Objects, find_objects
from eagleray_omniseg3d.click.selection import (
    MIN_OPACITY,
    Prompt,
    color_features,
    feature_projection,
    level_thresholds,
    prompt_at,
    select,
    similarities,
)
from eagleray_omniseg3d.data import SceneData
from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.export import png_bytes, point_cloud_ply
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_omniseg3d.model.view_rendering import (
    BoolImage,
    FloatImage,
    RenderedView,
    ViewCache,
    ViewSample,
    render_view,
)
from eagleray_omniseg3d.picture import to_bytes
from eagleray_omniseg3d.scenes.poses import rotation_from_quaternion
from eagleray_omniseg3d.view.picture import (
    mark_clicks,
    show_cutout,
    show_depth,
    show_objects,
    show_selection,
    show_similarity,
)

RgbImage = npt.NDArray[np.uint8]

_CACHED_BYTES = 1 << 28
_SURVEY_VIEWS = 8
"""Training views from which feature colors and objects are found."""
_SURVEY_PX = 4000
"""Pixels of each of them."""
_CLOUD_VIEWS = 24
"""Training views that a point cloud gathers an object from, spread over the capture."""
_NUM_LEVELS = 3
_UNRELATED = 0.5
"""Similarity of features at right angles."""


class StartArguments(Settings):
    """Nothing: the scene is known."""


class CameraArguments(Settings):
    """A camera: axes right, down, forward; square pixels, central principal point."""

    position: tuple[float, float, float]
    """Where it stands, scene coordinates."""
    wxyz: tuple[float, float, float, float]
    """Unit quaternion world_from_cam, scalar first."""
    fov_rad: float = Field(gt=0, lt=3.14)
    """Vertical field of view."""
    width_px: int = Field(ge=1, le=8192)
    """Image width."""
    height_px: int = Field(ge=1, le=8192)
    """Image height."""


class LookArguments(CameraArguments):
    """How a camera sees the scene."""

    mode: Literal["color", "depth", "features", "similarity", "selection", "cutout", "objects"] = (
        "color"
    )
    """What is shown; before the first click the last four but ``objects`` show the color."""
    threshold: float = Field(0.5, ge=0, lt=1)
    """Pixels more similar than this are selected."""


class PickArguments(CameraArguments):
    """A click."""

    column: int
    """Pixel column."""
    row: int
    """Pixel row."""
    positive: bool = True
    """Whether the thing clicked at is to be selected."""


class SaveArguments(LookArguments):
    """What is to be downloaded."""

    what: Literal["image", "mask", "all_masks", "point_cloud"] = "image"
    """The shown image; the selection in it as a mask, or in every training view (zip); or its
    points, gathered from this and many training views."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where the viewer begins, scene coordinates."""

    position: tuple[float, ...]
    look_at: tuple[float, ...]
    up: tuple[float, ...]
    fov_rad: float


class SceneViewing:
    """The viewer's functions for one scene.

    Args:
        data: The scene.
        faithful: See OmniSeg3DSettings.
    """

    def __init__(self, data: SceneData, *, faithful: bool) -> None:
        self._data, self._faithful = data, faithful
        self._cache = ViewCache(_CACHED_BYTES)
        self._survey: tuple[FloatImage, FloatImage] | None = None
        self._axes: FloatImage | None = None
        self._objects: Objects | None = None

    def tools(self) -> list[Tool]:
        """Return the functions under the names that the engine's viewer knows."""
        return [
            Tool("start", "Say where a viewer begins.", StartArguments, self.start),
            Tool("look", "Show what a camera sees.", LookArguments, self.look),
            Tool("pick", "Keep what is clicked at.", PickArguments, self.pick),
            Tool("thresholds", "Thresholds from whole to parts.", CameraArguments, self.thresholds),
            Tool("save", "Make a file of what is seen.", SaveArguments, self.save),
        ]

    def start(self, model: SceneModel, arguments: StartArguments) -> Start:
        """Begin at the first training camera, looking at where it looks."""
        scene = self._data.scene
        poses = scene.poses("train")
        first, up = poses[0], -poses[:, :, 1].mean(axis=0)
        distance = float(
            np.linalg.norm(poses[:, :, 3] - poses[:, :, 3].mean(axis=0), axis=1).mean()
        )
        target = first[:, 3] + first[:, 2] * max(distance, 1e-3)
        height, focal = scene.size_hw[0], float(scene.camera_matrix[1, 1])
        fov = 2.0 * float(np.arctan2(0.5 * height, focal))
        return Start(tuple(first[:, 3].tolist()), tuple(target.tolist()), tuple(up.tolist()), fov)

    def look(
        self,
        model: SceneModel,
        arguments: LookArguments,
        selection: Sequence[Prompt] = (),
        check: Callable[[], None] | None = None,
    ) -> RgbImage:
        """Return the (H, W, 3) uint8 RGB image that the arguments ask for; clicks are marked."""
        mode = arguments.mode
        if mode in ("similarity", "selection", "cutout") and not _is_usable(selection):
            mode = "color"
        sample = _sample(arguments)
        with_features = mode not in ("color", "depth")
        view = self._render(model, sample, with_features=with_features, check=check)
        image = self._shown(model, view, mode, arguments.threshold, selection)
        return mark_clicks(image, selection, sample.camera_matrix, sample.world_from_cam)

    def pick(self, model: SceneModel, arguments: PickArguments) -> Prompt:
        """Return the prompt under a click; one ray is enough for it.

        Raises:
            SelectionError: The click lies outside the image or on nothing.
        """
        sample = _sample(arguments)
        height, width = sample.size_hw
        column, row = arguments.column, arguments.row
        if not (0 <= column < width and 0 <= row < height):
            raise SelectionError(
                f"click at column {column}, row {row} lies outside the image of "
                f"{width} x {height} pixels"
            )
        matrix = sample.camera_matrix.copy()
        matrix[:2, 2] -= column, row
        ray = ViewSample("click", matrix, sample.world_from_cam, (1, 1))
        view = render_view(model, ray, faithful=self._faithful)
        return prompt_at(
            0, 0, view.features, view.positions, view.opacity, positive=arguments.positive
        )

    def thresholds(
        self, model: SceneModel, arguments: CameraArguments, selection: Sequence[Prompt] = ()
    ) -> list[float]:
        """Return the thresholds that select the last thing clicked at as a whole, and its parts.

        What is at right angles to the click's feature or beyond has nothing to do with it.

        Raises:
            SelectionError: Nothing is selected, or all in view is alike.
        """
        positive = [prompt for prompt in selection if prompt.positive]
        if not positive:
            raise SelectionError("click at a thing first")
        view = self._render(model, _sample(arguments))
        solid = view.opacity > MIN_OPACITY
        likeness = similarities(
            view.features[solid],
            view.positions[solid],
            positive[-1],
            normalize=not self._faithful,
        )
        return level_thresholds(likeness[likeness > _UNRELATED], _NUM_LEVELS)

    def save(
        self,
        model: SceneModel,
        arguments: SaveArguments,
        selection: Sequence[Prompt] = (),
        note: Callable[[str], None] | None = None,
    ) -> tuple[str, bytes]:
        """Return a file's name and content.

        Raises:
            SelectionError: Nothing is selected.
        """
        if arguments.what == "image":
            return "view.png", png_bytes(self.look(model, arguments, selection)[:, :, ::-1])
        view = self._render(model, _sample(arguments))
        if arguments.what == "mask":
            return "mask.png", _mask_png(self._chosen(view, arguments.threshold, selection))
        if arguments.what == "all_masks":
            named = self._seen(model, None, note)
            masks = {n: self._chosen(v, arguments.threshold, selection) for n, v in named}
            return "masks.zip", _zip({f"{n}.png": _mask_png(m) for n, m in masks.items()})
        pieces = []
        for _, seen in (("", view), *self._seen(model, _CLOUD_VIEWS, note)):
            chosen = self._chosen(seen, arguments.threshold, selection)
            pieces.append((seen.positions[chosen], to_bytes(seen.rgb)[chosen]))
        points, colors = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return "object.ply", point_cloud_ply(points, colors, self._data.scene)

    def _shown(
        self,
        model: SceneModel,
        view: RenderedView,
        mode: str,
        threshold: float,
        selection: Sequence[Prompt],
    ) -> RgbImage:
        if mode == "depth":
            return show_depth(view)
        if mode == "features":
            return to_bytes(color_features(view.features, self._shown_axes(model)))
        if mode == "objects":
            ids = self._found_objects(model).assign(_flat(view.features)).reshape(view.depth.shape)
            return show_objects(view, np.where(view.opacity > MIN_OPACITY, ids, 0))
        if mode == "similarity":
            likeness = np.max([self._likeness(view, p) for p in selection if p.positive], axis=0)
            return show_similarity(view, likeness, self._chosen(view, threshold, selection))
        if mode == "selection":
            return show_selection(view, self._chosen(view, threshold, selection))
        if mode == "cutout":
            return show_cutout(view, self._chosen(view, threshold, selection))
        return to_bytes(view.rgb)

    def _render(
        self,
        model: SceneModel,
        sample: ViewSample,
        *,
        with_features: bool = True,
        check: Callable[[], None] | None = None,
    ) -> RenderedView:
        return self._cache.render(
            model, sample, with_features=with_features, faithful=self._faithful, check=check
        )

    def _chosen(
        self, view: RenderedView, threshold: float, selection: Sequence[Prompt]
    ) -> BoolImage:
        """Return the (H, W) selection; empty space is never selected."""
        found = select(
            _flat(view.features),
            _flat(view.positions),
            selection,
            threshold,
            normalize=not self._faithful,
        )
        solid = view.opacity > MIN_OPACITY
        return np.asarray(found.mask.reshape(solid.shape) & solid, np.bool_)

    def _likeness(self, view: RenderedView, prompt: Prompt) -> FloatImage:
        flat = similarities(
            _flat(view.features), _flat(view.positions), prompt, normalize=not self._faithful
        )
        return flat.reshape(view.depth.shape)

    def _seen(
        self, model: SceneModel, count: int | None, note: Callable[[str], None] | None
    ) -> Iterator[tuple[str, RenderedView]]:
        """Render training views, all or some spread over the capture, with their names."""
        scene = self._data.scene
        numbers = _spread(scene.split("train"), count)
        for place, index in enumerate(numbers, 1):
            view = scene.views[index]
            check = None if note is None else partial(note, f"view {place} of {len(numbers)}")
            sample = self._data.sample(view, with_rgb=False)
            yield view.name, render_view(model, sample, faithful=self._faithful, check=check)

    def _surveyed(self, model: SceneModel) -> tuple[FloatImage, FloatImage]:
        """Return features and positions (n, D), (n, 3) of surfaces all over the scene."""
        if self._survey is None:
            scene, parts = self._data.scene, []
            scale = min(1.0, float(np.sqrt(_SURVEY_PX / (scene.size_hw[0] * scene.size_hw[1]))))
            for index in _spread(scene.split("train"), _SURVEY_VIEWS):
                sample = self._data.sample(scene.views[index], scale=scale, with_rgb=False)
                view = render_view(model, sample, faithful=self._faithful)
                solid = view.opacity > MIN_OPACITY
                parts.append((view.features[solid], view.positions[solid]))
            features, positions = (np.concatenate(part) for part in zip(*parts, strict=True))
            self._survey = features, positions
        return self._survey

    def _shown_axes(self, model: SceneModel) -> FloatImage:
        """Return the colors of features, the same for all views of a session.

        Raises:
            SelectionError: No training view shows anything.
        """
        if self._axes is None:
            features, _ = self._surveyed(model)
            if not len(features):
                raise SelectionError("no training view shows a surface; train the colors longer")
            self._axes = feature_projection(features)
        return self._axes

    def _found_objects(self, model: SceneModel) -> Objects:
        """Return the scene's objects, found once in a session."""
        if self._objects is None:
            self._objects = find_objects(*self._surveyed(model))
        return self._objects


def _sample(camera: CameraArguments) -> ViewSample:
    focal = 0.5 * camera.height_px / np.tan(0.5 * camera.fov_rad)
    center = 0.5 * camera.width_px, 0.5 * camera.height_px
    matrix = np.array([[focal, 0.0, center[0]], [0.0, focal, center[1]], [0.0, 0.0, 1.0]])
    rotation = rotation_from_quaternion(camera.wxyz, "the viewer's camera")
    pose = np.concatenate([rotation, np.array(camera.position)[:, None]], axis=1)
    return ViewSample("viewer", matrix, pose, (camera.height_px, camera.width_px))


def _flat(maps: FloatImage) -> FloatImage:
    return maps.reshape(-1, maps.shape[2])


def _is_usable(selection: Sequence[Any]) -> bool:
    return any(prompt.positive for prompt in selection)


def _spread(numbers: Sequence[int], count: int | None) -> list[int]:
    """Return so many of the numbers at even distances; all for None."""
    if count is None or count >= len(numbers):
        return list(numbers)
    places = np.linspace(0, len(numbers) - 1, count).round().astype(int)
    return [numbers[place] for place in places]


def _mask_png(mask: BoolImage) -> bytes:
    return png_bytes(np.where(mask, np.uint8(255), np.uint8(0)))


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
