"""Occupancies in the viewer: by class, by likeness to typed words, by features, and the truth."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from eagleray.task import Dataset, InputError, RgbImage, Solid, Viewpoint, ViewRequest
from eagleray_pop3d.data import EvaluationSample
from eagleray_pop3d.exports import occupancy_arrays, ply_points, voxel_centers_m
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.predict import FramePrediction
from eagleray_pop3d.voxels import FREE_LABEL, IGNORED_LABEL, evaluation_labels
from eagleray_vision.driving.lidarseg import CLASS_COLORS, CLASS_NAMES, NUM_CLASSES
from eagleray_vision.images.palette import distinct_palette

Places = npt.NDArray[np.float32]

CLASSES, LIKENESS, FEATURES, TRUTH = "classes", "likeness", "features", "truth"
_KEPT_FRAMES = 4
"""Key frames whose prediction is kept; a new text on one of them needs no network."""
_MOST_TEXTS = 8
_FAINTEST = 0.35
"""Brightness of the least alike voxel that is shown."""
_POINT_PX = 2
_FOV_RAD = 0.9
_BESIDE_PX = 480


@dataclass(frozen=True)
class AskedText:
    """A text that was asked for, with its vector ``(D,)`` of length 1."""

    text: str
    vector: Tensor


@dataclass(frozen=True)
class _Frame:
    sample: EvaluationSample
    prediction: FramePrediction


class OccupancyScene:
    """The key frames of a split, one at a time.

    Args:
        frames: Key frames.
        predict: Runs the network on one.
        embed: Returns the vector ``(D,)`` of a text.
        grid: Box and cells.
    """

    modes = (CLASSES, LIKENESS, FEATURES, TRUTH)
    selection_mode = LIKENESS
    downloads = ("ply", "npz")

    def __init__(
        self,
        frames: Dataset[EvaluationSample, Any],
        predict: Callable[[EvaluationSample], FramePrediction],
        embed: Callable[[str], Tensor],
        grid: GridSettings,
    ) -> None:
        self._data, self._predict, self._embed, self._grid = frames, predict, embed, grid
        self._index = {frames.key(k): k for k in range(len(frames))}
        self._known: OrderedDict[str, _Frame] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def frames(self) -> Sequence[str]:
        """Tokens of the key frames."""
        return tuple(self._index)

    @property
    def parts(self) -> Mapping[str, tuple[int, int, int]]:
        """Classes with their colors."""
        return {CLASS_NAMES[k]: CLASS_COLORS[k] for k in range(1, NUM_CLASSES + 1)}

    @property
    def heights(self) -> tuple[float, float]:
        """Lower and upper face of the box."""
        return self._grid.range_min_m[2], self._grid.range_max_m[2]

    def start(self) -> Viewpoint:
        """Return a place behind and above the vehicle, whose front is along y."""
        depth = self._grid.extent_m[1]
        return Viewpoint(
            (0.0, -0.55 * depth, 0.45 * depth), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), _FOV_RAD
        )

    def ask(self, text: str, request: ViewRequest[AskedText]) -> AskedText:
        """Return a text with its vector."""
        if not text:
            raise InputError("type what you look for first, such as: bus")
        if len(request.selection) >= _MOST_TEXTS:
            raise InputError(f"{_MOST_TEXTS} texts are shown at most; clear some first")
        return AskedText(text, self._embed(text))

    def solid(self, request: ViewRequest[AskedText]) -> Solid:
        """Return the voxels that are shown, as boxes."""
        frame = self._frame(request.frame)
        labels = self._truth(frame) if request.mode == TRUTH else frame.prediction.labels
        shown, colors = self._colored(frame, labels, request)
        centers = voxel_centers_m(labels.shape, self._grid)[shown]
        sides = [e / n for e, n in zip(self._grid.extent_m, labels.shape, strict=True)]
        if request.top is not None:
            below = centers[:, 2] <= request.top
            centers, colors = centers[below], colors[below]
        return Solid(centers, colors, (sides[0], sides[1], sides[2]))

    def beside(self, request: ViewRequest[AskedText]) -> Mapping[str, RgbImage]:
        """Return the photographs with the lidar's points in the colors of the voxels."""
        frame = self._frame(request.frame)
        colors = self._point_colors(frame, request)
        sample = frame.sample.frame
        return {
            f"camera {k + 1}": _with_points(
                sample.images[k][: size[0], : size[1]], sample.lidar2img[k], sample.points, colors
            )
            for k, size in enumerate(sample.sizes_hw.tolist())
        }

    def save(
        self, request: ViewRequest[AskedText], what: str, note: Callable[[str], None]
    ) -> tuple[str, bytes]:
        """Return what is shown as colored points, or all labels and features."""
        frame = self._frame(request.frame)
        if what == "npz":
            content = occupancy_arrays(frame.prediction, self._grid)
            return f"{request.frame}.npz", content
        note("writing points ...")
        solid = self.solid(request)
        return f"{request.frame}.ply", ply_points(solid.centers, solid.colors)

    def _frame(self, token: str) -> _Frame:
        with self._lock:
            if token not in self._known:
                sample = self._data.load(self._index[token], np.random.default_rng(0))
                with torch.inference_mode():
                    self._known[token] = _Frame(sample, self._predict(sample))
                while len(self._known) > _KEPT_FRAMES:
                    self._known.popitem(last=False)
            self._known.move_to_end(token)
            return self._known[token]

    def _truth(self, frame: _Frame) -> npt.NDArray[np.uint8]:
        if frame.sample.classes is None:
            raise InputError("this key frame has no labels")
        return evaluation_labels(frame.sample.frame.points, frame.sample.classes, self._grid)

    def _colored(
        self, frame: _Frame, labels: npt.NDArray[np.uint8], request: ViewRequest[AskedText]
    ) -> tuple[npt.NDArray[np.bool_], RgbImage]:
        """Return which voxels are shown, and their colors in order of their index."""
        solid = (labels != FREE_LABEL) & (labels != IGNORED_LABEL)
        hidden = [CLASS_NAMES.index(name) for name in request.hidden]
        kept = ~np.isin(labels[solid], hidden)
        if request.mode == LIKENESS:
            features = frame.prediction.voxel_features
            alike, colors = _likeness(features, request.selection, request.threshold)
            kept &= alike
        elif request.mode == FEATURES:
            colors = _principal_colors(frame.prediction.voxel_features)
        else:
            colors = np.array(CLASS_COLORS, dtype=np.uint8)[labels[solid]]
        shown = np.zeros(labels.shape, dtype=np.bool_)
        shown[solid] = kept
        return shown, colors[kept]

    def _point_colors(self, frame: _Frame, request: ViewRequest[AskedText]) -> RgbImage:
        prediction = frame.prediction
        if request.mode == LIKENESS and request.selection:
            features = prediction.point_features
            alike, colors = _likeness(features, request.selection, request.threshold)
            return np.where(alike[:, None], colors, 40).astype(np.uint8)
        if request.mode == FEATURES:
            return _principal_colors(prediction.point_features)
        labels = prediction.point_labels
        if request.mode == TRUTH and frame.sample.classes is not None:
            labels = frame.sample.classes
        return np.array(CLASS_COLORS, dtype=np.uint8)[labels]


def _likeness(
    features: Tensor, asked: Sequence[AskedText], threshold: float
) -> tuple[npt.NDArray[np.bool_], RgbImage]:
    """Return which features are like one of the texts, and the color of the likest one.

    Cosines of features and texts lie close together, so they are stretched over the frame: its
    least alike feature has 0, its most alike one 1.

    Args:
        features: ``(n, D)``.
        asked: Texts; without any, nothing is alike.
        threshold: From which likeness on.
    """
    if not asked or not len(features):
        count = len(features)
        return np.zeros(count, dtype=np.bool_), np.zeros((count, 3), dtype=np.uint8)
    vectors = torch.stack([one.vector for one in asked]).to(features)
    cosine = F.normalize(features, dim=1) @ F.normalize(vectors, dim=1).T
    low, high = cosine.amin(), cosine.amax()
    likeness, which = ((cosine - low) / (high - low).clamp(min=1e-9)).max(dim=1)
    palette = distinct_palette(len(asked)).astype(np.float32)
    shade = _FAINTEST + (1 - _FAINTEST) * likeness.numpy()
    colors = np.rint(palette[which.numpy()] * shade[:, None]).astype(np.uint8)
    return likeness.numpy() >= threshold, colors


def _principal_colors(features: Tensor) -> RgbImage:
    """Return the three strongest directions of features as red, green and blue, ``(n, 3)``."""
    if len(features) < 3:
        return np.full((len(features), 3), 128, dtype=np.uint8)
    centered = features - features.mean(dim=0)
    values, vectors = torch.linalg.eigh(centered.T @ centered)
    strongest = vectors[:, values.argsort(descending=True)[:3]]
    # The sign of a direction is arbitrary; the larger end is made the bright one.
    strongest = strongest * torch.where(strongest.abs().amax(0) == strongest.amax(0), 1.0, -1.0)
    places = centered @ strongest
    low, high = places.quantile(0.02, dim=0), places.quantile(0.98, dim=0)
    return (255 * ((places - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)).byte().numpy()


def _with_points(
    image: npt.NDArray[Any], lidar2img: npt.NDArray[np.float32], points: Places, colors: RgbImage
) -> RgbImage:
    """Return a photograph with points on it, the far ones first, at most 480 pixels wide."""
    step = max(1, -(-image.shape[1] // _BESIDE_PX))
    picture = np.clip(image[::step, ::step], 0, 255).astype(np.uint8)
    seen = points @ lidar2img[:3, :3].T + lidar2img[:3, 3]
    ahead = np.flatnonzero(seen[:, 2] > 1.0)
    ahead = ahead[np.argsort(-seen[ahead, 2])]
    column, row = (seen[ahead, :2] / seen[ahead, 2:] / step).T
    inside = (column >= 0) & (row >= 0)
    inside &= (column < picture.shape[1] - _POINT_PX) & (row < picture.shape[0] - _POINT_PX)
    x, y = column[inside].astype(np.int64), row[inside].astype(np.int64)
    for dx in range(_POINT_PX):
        for dy in range(_POINT_PX):
            picture[y + dy, x + dx] = colors[ahead[inside]]
    return picture
