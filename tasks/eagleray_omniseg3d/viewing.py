"""What the browser viewer asks for: where to begin, how a camera sees the scene, picks, downloads.

The engine's viewer knows these functions by their names (``start``, ``look``, ``pick``, ``save``)
and hands back what ``pick`` gave as ``selection``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from eagleray.task import Settings, Tool
from eagleray_omniseg3d.data import SceneData, ViewSample
from eagleray_omniseg3d.export import png_bytes, point_cloud_ply
from eagleray_omniseg3d.model.scene_model import SceneModel
from eagleray_omniseg3d.picture import color_depth, to_bytes
from eagleray_omniseg3d.poses import rotation_from_quaternion
from eagleray_omniseg3d.predict import RenderedView, ViewCache
from eagleray_omniseg3d.selection import (
    MIN_OPACITY,
    Prompt,
    Selection,
    color_features,
    color_scores,
    feature_projection,
    prompt_at,
    select,
)

RgbImage = npt.NDArray[np.uint8]

_CACHED_VIEWS = 8
_PROJECTION_SCALE = 0.25


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

    mode: Literal["color", "depth", "features", "similarity", "selection"] = "color"
    """What is shown."""
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

    what: Literal["image", "mask", "point_cloud"] = "image"
    """The shown image, the selection in it as a mask, or its points."""


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
        self._cache = ViewCache(_CACHED_VIEWS)
        self._projection: npt.NDArray[np.float32] | None = None

    def tools(self) -> list[Tool]:
        """Return the functions under the names that the engine's viewer knows."""
        return [
            Tool("start", "Say where a viewer begins.", StartArguments, self.start),
            Tool("look", "Show what a camera sees.", LookArguments, self.look),
            Tool("pick", "Keep what is clicked at.", PickArguments, self.pick),
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
        self, model: SceneModel, arguments: LookArguments, selection: Sequence[Prompt] = ()
    ) -> RgbImage:
        """Return the (H, W, 3) uint8 RGB image that the arguments ask for."""
        view = self._render(model, arguments)
        if arguments.mode == "depth":
            return color_depth(view.depth / np.maximum(view.opacity, np.float32(MIN_OPACITY)))
        if arguments.mode == "features":
            return to_bytes(color_features(view.features, self._shown_axes(model, view)))
        if arguments.mode in ("similarity", "selection") and _is_usable(selection):
            found = self._select(view, selection, arguments.threshold)
            shape = view.opacity.shape
            if arguments.mode == "similarity":
                score = color_scores(found.score.reshape(shape))
                return np.ascontiguousarray(score[:, :, ::-1])
            chosen = found.mask.reshape(shape, order="C")[:, :, None]
            return to_bytes(np.where(chosen, view.rgb, view.rgb * np.float32(0.25)))
        return to_bytes(view.rgb)

    def pick(self, model: SceneModel, arguments: PickArguments) -> Prompt:
        """Return the prompt under a click.

        Raises:
            SelectionError: The click lies outside the image or on nothing.
        """
        view = self._render(model, arguments)
        return prompt_at(
            arguments.column,
            arguments.row,
            view.features,
            view.positions,
            view.opacity,
            positive=arguments.positive,
        )

    def save(
        self, model: SceneModel, arguments: SaveArguments, selection: Sequence[Prompt] = ()
    ) -> tuple[str, bytes]:
        """Return a file's name and content.

        Raises:
            SelectionError: Nothing is selected.
        """
        if arguments.what == "image":
            return "view.png", png_bytes(self.look(model, arguments, selection)[:, :, ::-1])
        view = self._render(model, arguments)
        found = self._select(view, selection, arguments.threshold)
        mask = found.mask.reshape(view.opacity.shape) & (view.opacity > MIN_OPACITY)
        if arguments.what == "mask":
            return "mask.png", png_bytes(np.where(mask, np.uint8(255), np.uint8(0)))
        return "object.ply", point_cloud_ply(view.positions[mask], to_bytes(view.rgb)[mask])

    def _render(self, model: SceneModel, camera: CameraArguments) -> RenderedView:
        focal = 0.5 * camera.height_px / np.tan(0.5 * camera.fov_rad)
        matrix = np.array(
            [
                [focal, 0.0, 0.5 * camera.width_px],
                [0.0, focal, 0.5 * camera.height_px],
                [0.0, 0.0, 1.0],
            ]
        )
        rotation = rotation_from_quaternion(camera.wxyz, "the viewer's camera")
        pose = np.concatenate([rotation, np.array(camera.position)[:, None]], axis=1)
        size = (camera.height_px, camera.width_px)
        sample = ViewSample(f"viewer/{camera.fov_rad}", matrix, pose, size)
        return self._cache.render(model, sample, faithful=self._faithful)

    def _select(
        self, view: RenderedView, selection: Sequence[Prompt], threshold: float
    ) -> Selection:
        flat = view.features.reshape(-1, view.features.shape[2])
        return select(
            flat,
            view.positions.reshape(-1, 3),
            selection,
            threshold,
            normalize=not self._faithful,
        )

    def _shown_axes(self, model: SceneModel, view: RenderedView) -> npt.NDArray[np.float32]:
        """Return the colors of features, the same for all views of a session."""
        if self._projection is None:
            scene = self._data.scene
            reference = self._data.sample(
                scene.views[scene.split("train")[0]], scale=_PROJECTION_SCALE, with_rgb=False
            )
            seen = self._cache.render(model, reference, faithful=self._faithful)
            self._projection = feature_projection(seen.features.reshape(-1, view.features.shape[2]))
        return self._projection


def _is_usable(selection: Sequence[Any]) -> bool:
    return any(prompt.positive for prompt in selection)
