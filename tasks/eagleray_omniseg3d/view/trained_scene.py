"""What the browser viewer asks of a trained scene: where to begin, how a camera sees it, picks,
thresholds, downloads.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from eagleray.task import Camera, Capture, Viewpoint, ViewRequest
from eagleray_omniseg3d.click.objects import Objects, find_objects
from eagleray_omniseg3d.click.selection import (
    Prompt,
    Similarity,
    color_features,
    feature_projection,
    level_thresholds,
    likeness_in_view,
    prompt_at,
    select,
    select_in_view,
)
from eagleray_omniseg3d.data import SceneData
from eagleray_omniseg3d.errors import SelectionError
from eagleray_omniseg3d.export import png_bytes, point_cloud_ply
from eagleray_omniseg3d.mesh import Chooser, mesh_glb, mesh_ply, scene_mesh, upright
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
from eagleray_omniseg3d.scenes.poses import FloatArray, rotation_from_quaternion
from eagleray_omniseg3d.scenes.reading import world_points
from eagleray_omniseg3d.view.picture import (
    mark_clicks,
    show_cutout,
    show_depth,
    show_objects,
    show_selection,
    show_similarity,
    without_specks,
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
_MESH_WRITERS = {"mesh_ply": mesh_ply, "mesh_glb": mesh_glb}
_PHOTOGRAPH_PX = 480
_UNRELATED = 0.5
"""Similarity of features at right angles."""


class TrainedScene:
    """A trained scene that answers the viewer; what stands for a click is a prompt.

    Args:
        data: The scene.
        model: Its model.
        similarity: How pixels are compared with clicks.
        faithful: Keep the original's defects in rendering.
    """

    modes = ("color", "depth", "features", "similarity", "selection", "cutout", "objects")
    """What is shown; before the first click ``similarity``, ``selection`` and ``cutout`` show the
    color."""
    selection_mode = "selection"
    downloads = ("image", "mask", "all_masks", "point_cloud", "mesh_ply", "mesh_glb")
    """The shown image; the selection in it as a mask, or in every training view (zip); or its
    points, gathered from this and many training views; the surface of the selection, or of the
    whole scene where nothing is selected."""
    has_levels = True

    def __init__(
        self, data: SceneData, model: SceneModel, similarity: Similarity, *, faithful: bool
    ) -> None:
        self._data, self._model = data, model
        self._similarity, self._faithful = similarity, faithful
        self._cache = ViewCache(_CACHED_BYTES)
        self._survey: tuple[FloatImage, FloatImage] | None = None
        self._axes: FloatImage | None = None
        self._objects: Objects | None = None

    def start(self) -> Viewpoint:
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
        return Viewpoint(_triple(first[:, 3]), _triple(target), _triple(up), fov)

    @property
    def captures(self) -> Sequence[Capture]:
        """The training views."""
        scene = self._data.scene
        height, width = scene.size_hw
        fov = 2.0 * float(np.arctan2(0.5 * height, float(scene.camera_matrix[1, 1])))
        return [
            Capture(view.name, _camera(view.world_from_cam, fov, width, height))
            for view in (scene.views[index] for index in scene.split("train"))
        ]

    def photograph(self, name: str) -> RgbImage:
        """Return a training view's photograph, its longer side at most 480 pixels."""
        scene = self._data.scene
        view = next(view for view in scene.views if view.name == name)
        rgb = self._data.sample(view, scale=min(1.0, _PHOTOGRAPH_PX / max(scene.size_hw))).rgb
        return np.asarray(rgb, np.uint8)

    def look(self, request: ViewRequest[Prompt], check: Callable[[], None]) -> RgbImage:
        """Return the (H, W, 3) uint8 RGB image that is asked for; clicks are marked."""
        return self._look(request, check)

    def pick(self, camera: Camera, column: int, row: int, *, positive: bool) -> Prompt:
        """Return the prompt under a click; one ray is enough for it.

        Raises:
            SelectionError: The click lies outside the image or on nothing.
        """
        sample = _sample(camera)
        height, width = sample.size_hw
        if not (0 <= column < width and 0 <= row < height):
            raise SelectionError(
                f"click at column {column}, row {row} lies outside the image of "
                f"{width} x {height} pixels"
            )
        matrix = sample.camera_matrix.copy()
        matrix[:2, 2] -= column, row
        ray = ViewSample("click", matrix, sample.world_from_cam, (1, 1))
        view = render_view(self._model, ray, faithful=self._faithful)
        return prompt_at(0, 0, view.features, view.positions, view.opacity, positive=positive)

    def thresholds(self, request: ViewRequest[Prompt]) -> list[float]:
        """Return the thresholds that select the last thing clicked at as a whole, and its parts.

        What is at right angles to the click's feature or beyond has nothing to do with it.

        Raises:
            SelectionError: Nothing is selected, or all in view is alike.
        """
        positive = [prompt for prompt in request.selection if prompt.positive]
        if not positive:
            raise SelectionError("click at a thing first")
        view = self._render(_sample(request.camera))
        likeness = likeness_in_view(view, positive[-1], self._similarity)[view.solid]
        return level_thresholds(likeness[likeness > _UNRELATED], _NUM_LEVELS)

    def save(
        self, request: ViewRequest[Prompt], what: str, note: Callable[[str], None]
    ) -> tuple[str, bytes]:
        """Return a file's name and content.

        Raises:
            SelectionError: Nothing is selected.
        """
        if what == "image":
            return "view.png", png_bytes(self._look(request, None)[:, :, ::-1])
        if what in _MESH_WRITERS:
            return self._mesh(request, what, note)
        view = self._render(_sample(request.camera))
        if what == "mask":
            return "mask.png", _mask_png(self._chosen(view, request))
        if what == "all_masks":
            masks = {n: self._chosen(v, request) for n, v in self._seen(None, note)}
            return "masks.zip", _zip({f"{n}.png": _mask_png(m) for n, m in masks.items()})
        pieces = []
        for _, seen in (("", view), *self._seen(_CLOUD_VIEWS, note)):
            chosen = self._chosen(seen, request)
            pieces.append((seen.positions[chosen], to_bytes(seen.rgb)[chosen]))
        points, colors = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return "object.ply", point_cloud_ply(points, colors, self._data.scene)

    def _mesh(
        self, request: ViewRequest[Prompt], what: str, note: Callable[[str], None]
    ) -> tuple[str, bytes]:
        """Return the surface of the selection, or of the whole scene, in world coordinates."""
        note("looking at the training views")
        features, seen = self._surveyed()
        chooser: Chooser | None = None
        if _is_usable(request.selection):
            chooser = partial(_is_selected, request.selection, request.threshold, self._similarity)
            seen = seen[chooser(features, seen)]
        mesh = scene_mesh(self._model, seen, chooser, note)
        scene = self._data.scene
        vertices = world_points(scene, np.asarray(mesh.vertices))
        if what == "mesh_glb":
            up = -scene.poses("train")[:, :, 1].mean(axis=0)
            ends = world_points(scene, np.stack([np.zeros(3), up]))
            vertices = vertices @ upright(ends[1] - ends[0]).T
        name = "selection" if chooser is not None else "scene"
        mesh.vertices = vertices
        return f"{name}.{what.removeprefix('mesh_')}", _MESH_WRITERS[what](mesh)

    def _look(self, request: ViewRequest[Prompt], check: Callable[[], None] | None) -> RgbImage:
        mode, selection = request.mode, request.selection
        if mode in ("similarity", "selection", "cutout") and not _is_usable(selection):
            mode = "color"
        sample = _sample(request.camera)
        view = self._render(sample, with_features=mode not in ("color", "depth"), check=check)
        image = self._shown(view, mode, request)
        return mark_clicks(image, selection, sample.camera_matrix, sample.world_from_cam)

    def _shown(self, view: RenderedView, mode: str, request: ViewRequest[Prompt]) -> RgbImage:
        if mode == "depth":
            return show_depth(view)
        if mode == "features":
            return to_bytes(color_features(view.features, self._shown_axes()))
        if mode == "objects":
            ids = self._found_objects().assign(view.flat_features).reshape(view.depth.shape)
            return show_objects(view, np.where(view.solid, ids, 0))
        if mode == "similarity":
            positive = [prompt for prompt in request.selection if prompt.positive]
            likeness = [likeness_in_view(view, p, self._similarity) for p in positive]
            return show_similarity(view, np.max(likeness, axis=0), self._chosen(view, request))
        if mode == "selection":
            return show_selection(view, self._chosen(view, request))
        if mode == "cutout":
            return show_cutout(view, self._chosen(view, request))
        return to_bytes(view.rgb)

    def _render(
        self,
        sample: ViewSample,
        *,
        with_features: bool = True,
        check: Callable[[], None] | None = None,
    ) -> RenderedView:
        return self._cache.render(
            self._model, sample, with_features=with_features, faithful=self._faithful, check=check
        )

    def _chosen(self, view: RenderedView, request: ViewRequest[Prompt]) -> BoolImage:
        mask = select_in_view(view, request.selection, request.threshold, self._similarity)
        return without_specks(mask)

    def _seen(
        self, count: int | None, note: Callable[[str], None]
    ) -> Iterator[tuple[str, RenderedView]]:
        """Render training views, all or some spread over the capture, with their names."""
        scene = self._data.scene
        numbers = _spread(scene.split("train"), count)
        for place, index in enumerate(numbers, 1):
            view = scene.views[index]
            check = partial(note, f"view {place} of {len(numbers)}")
            sample = self._data.sample(view, with_rgb=False)
            yield view.name, render_view(self._model, sample, faithful=self._faithful, check=check)

    def _surveyed(self) -> tuple[FloatImage, FloatImage]:
        """Return features and positions (n, D), (n, 3) of surfaces all over the scene."""
        if self._survey is None:
            scene, parts = self._data.scene, []
            scale = min(1.0, float(np.sqrt(_SURVEY_PX / (scene.size_hw[0] * scene.size_hw[1]))))
            for index in _spread(scene.split("train"), _SURVEY_VIEWS):
                sample = self._data.sample(scene.views[index], scale=scale, with_rgb=False)
                view = render_view(self._model, sample, faithful=self._faithful)
                parts.append((view.features[view.solid], view.positions[view.solid]))
            features, positions = (np.concatenate(part) for part in zip(*parts, strict=True))
            self._survey = features, positions
        return self._survey

    def _shown_axes(self) -> FloatImage:
        """Return the colors of features, the same for all views of a session.

        Raises:
            SelectionError: No training view shows anything.
        """
        if self._axes is None:
            features, _ = self._surveyed()
            if not len(features):
                raise SelectionError("no training view shows a surface; train the colors longer")
            self._axes = feature_projection(features)
        return self._axes

    def _found_objects(self) -> Objects:
        """Return the scene's objects, found once in a session."""
        if self._objects is None:
            self._objects = find_objects(*self._surveyed())
        return self._objects


def _camera(world_from_cam: FloatArray, fov_rad: float, width: int, height: int) -> Camera:
    x, y, z, w = (float(v) for v in Rotation.from_matrix(world_from_cam[:, :3]).as_quat())
    return Camera(_triple(world_from_cam[:, 3]), (w, x, y, z), fov_rad, width, height)


def _is_selected(
    prompts: Sequence[Prompt],
    threshold: float,
    how: Similarity,
    features: FloatImage,
    positions: FloatImage,
) -> npt.NDArray[np.bool_]:
    """Return which features (n, D) at positions (n, 3) are selected."""
    return np.asarray(select(features, positions, prompts, threshold, how).mask, np.bool_)


def _sample(camera: Camera) -> ViewSample:
    focal = 0.5 * camera.height_px / np.tan(0.5 * camera.fov_rad)
    center = 0.5 * camera.width_px, 0.5 * camera.height_px
    matrix = np.array([[focal, 0.0, center[0]], [0.0, focal, center[1]], [0.0, 0.0, 1.0]])
    rotation = rotation_from_quaternion(camera.wxyz, "the viewer's camera")
    pose = np.concatenate([rotation, np.array(camera.position)[:, None]], axis=1)
    return ViewSample("viewer", matrix, pose, (camera.height_px, camera.width_px))


def _is_usable(selection: Sequence[Prompt]) -> bool:
    return any(prompt.positive for prompt in selection)


def _spread(numbers: Sequence[int], count: int | None) -> list[int]:
    """Return so many of the numbers at even distances; all for None."""
    if count is None or count >= len(numbers):
        return list(numbers)
    places = np.linspace(0, len(numbers) - 1, count).round().astype(int)
    return [numbers[place] for place in places]


def _triple(values: FloatArray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _mask_png(mask: BoolImage) -> bytes:
    return png_bytes(np.where(mask, np.uint8(255), np.uint8(0)))


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
