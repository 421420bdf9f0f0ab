"""Looking around in a panorama: its classes painted over it, clicked at, switched off, asked for.

World axes of the viewer are right, down, forward; the panorama's middle lies ahead. Where the
camera stands does not matter, only where it looks. Photographs that are no panoramas hang ahead as
a picture does.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eagleray.task import (
    Benchmark,
    Camera,
    InputError,
    RgbImage,
    Rows,
    Viewpoint,
    ViewRequest,
)
from eagleray_ops.benchmarks import COCO_VAL
from eagleray_ops.data import EvaluationImages
from eagleray_ops.picture import palette_of, with_legend
from eagleray_ops.stages import label_of
from eagleray_vision.clip.vocabulary import BETWEEN_SYNONYMS
from eagleray_vision.images.overlay import color_labels
from eagleray_vision.images.palette import distinct_palette
from eagleray_vision.inference.windows import PredictWindows
from eagleray_vision.panoptic.label_image import deep_ids_png, encode_png
from eagleray_vision.samples.semantic import SemanticPrediction, SemanticSample
from eagleray_vision.sphere.directions import Floats, View, panorama_pixels
from eagleray_vision.sphere.perspective import view_pixels

FOV_DEG = 75.0
"""Vertical field of view at the beginning."""
PHOTO_FOV_DEG = 60.0
"""Field of view that the longer side of an ordinary photograph is taken to have."""
MOST_FRAMES = 200
"""Images that can be chosen from."""

_KEPT = 8
"""Predictions that are kept: images, and words that were asked for."""
_DIM = 0.25
_OVERLAY = 0.5
_START = Viewpoint(
    position=(0.0, 0.0, 0.0),
    look_at=(0.0, 0.0, 1.0),
    up=(0.0, -1.0, 0.0),
    fov_rad=float(np.radians(FOV_DEG)),
)


@dataclass(frozen=True, slots=True)
class Click:
    """A click: the direction that it hit, and whether its class is wanted."""

    direction: tuple[float, float, float]
    positive: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Words that were asked for."""

    words: str


Asked = Click | Question
PredictWords = Callable[[SemanticSample, Sequence[str], Callable[[], None]], SemanticPrediction]
"""Predicts a sample with classes by their words; calls the last argument between windows."""


class PanoramaScene:
    """The images of a benchmark, looked at from inside.

    Args:
        images: The images.
        classes: The classes that are shown, each a name or names joined by ``|``.
        predict: The network.
    """

    modes = ("overlay", "photo", "classes", "found")
    """``found`` leaves only what was clicked at or asked for in its light."""
    selection_mode = "found"
    downloads = ("image", "labels")
    has_levels = False

    def __init__(
        self, images: EvaluationImages, classes: Sequence[str], predict: PredictWords
    ) -> None:
        if not len(images):
            raise InputError("there is no image to look at: evaluate the run on a benchmark first")
        self._images, self._classes, self._predict = images, tuple(classes), predict
        count = min(len(images), MOST_FRAMES)
        self._index = {images.key(k): k for k in range(count)}
        self._known: OrderedDict[tuple[str, ...], tuple[SemanticSample, Any]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def frames(self) -> Sequence[str]:
        """The images by name."""
        return tuple(self._index)

    @property
    def parts(self) -> Mapping[str, tuple[int, int, int]]:
        """The classes and their colors."""
        colors = palette_of(self._classes)
        return {
            name.split(BETWEEN_SYNONYMS)[0]: (int(r), int(g), int(b))
            for name, (r, g, b) in zip(self._classes, colors, strict=True)
        }

    def start(self) -> Viewpoint:
        """Begin in the middle, looking ahead."""
        return _START

    def look(self, request: ViewRequest[Asked], check: Callable[[], None]) -> RgbImage:
        """Return what the camera sees, (H, W, 3) uint8 RGB."""
        sample, classes, words = self._seen(request, check)
        check()
        photo = _photo(sample)
        directions = camera_directions(request.camera)
        column, row, inside = photo_pixels(directions, (photo.shape[0], photo.shape[1]))
        shown = np.where(inside[..., None], photo[row, column], 0)
        if request.mode == "photo":
            return shown.astype(np.uint8)
        found = np.where(inside, classes[row, column], len(words))
        base = palette_of(self._classes)
        colors = np.concatenate([base, distinct_palette(len(words))[len(base) :]])
        chosen = self._chosen(request, words, sample, classes)
        return _painted(shown, found, request, words, chosen, colors)

    def pick(self, camera: Camera, column: int, row: int, *, positive: bool) -> Click:
        """Return the direction of a click.

        Raises:
            InputError: It lies outside of the picture.
        """
        if not (0 <= column < camera.width_px and 0 <= row < camera.height_px):
            raise InputError(f"click at column {column}, row {row} lies outside of the picture")
        x, y, z = camera_directions(camera)[row, column]
        return Click((float(x), float(y), float(z)), positive)

    def thresholds(self, request: ViewRequest[Asked]) -> Sequence[float]:
        """A class is all or nothing."""
        return ()

    def ask(self, text: str, request: ViewRequest[Asked]) -> Question:
        """Return words to look for beside the classes.

        Raises:
            InputError: There are none.
        """
        if not text.strip():
            raise InputError("type what to look for, such as: ice cream van")
        return Question(" ".join(text.split()))

    def save(
        self, request: ViewRequest[Asked], what: str, note: Callable[[str], None]
    ) -> tuple[str, bytes]:
        """Return the shown picture, or the classes of the whole image as a PNG of numbers.

        Raises:
            InputError: Something else is asked for.
        """
        note("looking")
        if what == "image":
            return "view.png", encode_png(self.look(request, lambda: None))
        if what == "labels":
            _, classes, _ = self._seen(request, lambda: None)
            return "labels.png", deep_ids_png(classes)
        raise InputError(f"{what!r} is none of {', '.join(self.downloads)}")

    def _seen(
        self, request: ViewRequest[Asked], check: Callable[[], None]
    ) -> tuple[SemanticSample, npt.NDArray[np.int32], tuple[str, ...]]:
        """Return an image, its classes, and what they are called, asked words last."""
        frame = request.frame or next(iter(self._index))
        if frame not in self._index:
            raise InputError(f"there is no image {frame!r} in this view")
        asked = [one.words for one in request.selection if isinstance(one, Question)]
        known = _numbers(self._classes)
        new = {_plain(text): text for text in asked if _plain(text) not in known}
        words = (*self._classes, *new.values())
        key = (frame, *words)
        with self._lock:  # one prediction at a time; whoever waits gets what was found
            if key not in self._known:
                sample = self._images.load(self._index[frame], np.random.default_rng(0))
                self._known[key] = (sample, self._predict(sample, words, check).classes)
            self._known.move_to_end(key)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            sample, classes = self._known[key]
        return sample, classes, words

    def _chosen(
        self,
        request: ViewRequest[Asked],
        words: Sequence[str],
        sample: SemanticSample,
        classes: npt.NDArray[np.int32],
    ) -> set[int]:
        """Return the classes that clicks and questions stand for, the later ones overriding."""
        chosen: set[int] = set()
        photo = _photo(sample)
        owner = _numbers(words)
        for one in request.selection:
            if isinstance(one, Question):
                chosen.add(owner[_plain(one.words)])
                continue
            place = np.array(one.direction)[None, None]
            column, row, inside = photo_pixels(place, (photo.shape[0], photo.shape[1]))
            if inside.all():
                hit = {int(classes[row, column][0, 0])}
                chosen = chosen | hit if one.positive else chosen - hit
        return chosen


def camera_directions(camera: Camera) -> Floats:
    """Return where the pixels of a viewer's camera look, ``(H, W, 3)``, y up."""
    w, x, y, z = camera.wxyz
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    height, width = camera.height_px, camera.width_px
    focal = height / 2 / np.tan(camera.fov_rad / 2)
    rays = np.ones((height, width, 3))
    rays[..., 0] = ((np.arange(width) + 0.5 - width / 2) / focal)[None, :]
    rays[..., 1] = ((np.arange(height) + 0.5 - height / 2) / focal)[:, None]
    seen: Floats = rays @ rotation.T
    return seen * np.array([1.0, -1.0, 1.0])  # the viewer's y points down


def photo_pixels(
    directions: Floats, size_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the nearest pixel of an image in each direction, and whether it reaches there.

    Args:
        directions: ``(..., 3)``, y up.
        size_hw: Height and width of the image; twice as wide as high or more is a panorama, whose
            horizon lies in the middle.

    Returns:
        Columns, rows (both within the image) and whether the image is there.
    """
    height, width = size_hw
    if width >= 2 * height:
        columns, rows = panorama_pixels(directions, (width // 2, width))
        rows = rows - (width // 2 - height) / 2
        inside = (rows >= -0.5) & (rows < height - 0.5)
        column = np.floor(columns + 0.5).astype(np.int64) % width
    else:
        half = np.tan(np.radians(PHOTO_FOV_DEG / 2))
        fov = [2 * np.degrees(np.arctan(half * side / max(size_hw))) for side in (width, height)]
        columns, rows, inside = view_pixels(View(*map(float, fov)), size_hw, directions)
        column = np.clip(np.floor(columns + 0.5), 0, width - 1).astype(np.int64)
    row = np.clip(np.floor(rows + 0.5), 0, height - 1).astype(np.int64)
    return column, row, inside


def viewed_benchmark(benchmarks: Sequence[Benchmark], rows: Mapping[str, Rows]) -> Benchmark:
    """Return the benchmark whose images a viewer shows: panoramas where the run has read any.

    Args:
        benchmarks: All benchmarks, those of photographs first.
        rows: Rows of the stages that the run used, by label.

    Raises:
        InputError: The run has read none of their images.
    """
    for one in (*(b for b in benchmarks if not b.name.startswith(COCO_VAL)), *benchmarks):
        if one.source and label_of(one.source) in rows:
            return one
    raise InputError(
        "the run has read no images that could be looked at; evaluate it first, such as with "
        "--benchmark wildpass"
    )


def checked(predict: PredictWindows, check: Callable[[], None]) -> PredictWindows:
    """Return a network that asks before every window whether the picture is still wanted."""

    def wanted(images: torch.Tensor) -> torch.Tensor:
        check()
        return predict(images)

    return wanted


def _painted(
    shown: npt.NDArray[Any],
    found: npt.NDArray[Any],
    request: ViewRequest[Asked],
    words: Sequence[str],
    chosen: set[int],
    colors: RgbImage,
) -> RgbImage:
    """Paint classes over a picture, those that are switched off left as they are."""
    names = [word.split(BETWEEN_SYNONYMS)[0] for word in words]
    off = [k for k, name in enumerate(names) if name in request.hidden]
    painted = color_labels(np.where(np.isin(found, off), len(words), found), colors)
    visible = (found < len(words)) & ~np.isin(found, off)
    if request.mode == "found" and chosen:
        light = np.isin(found, sorted(chosen))[..., None]
        mixed = np.where(light, (1 - _OVERLAY) * shown + _OVERLAY * painted, _DIM * shown)
        listed = sorted(chosen)
    elif request.mode == "classes":
        mixed, listed = painted.astype(float), []
    else:
        blended = (1 - _OVERLAY) * shown + _OVERLAY * painted
        mixed, listed = np.where(visible[..., None], blended, shown), []
    entries = [(names[k], tuple(map(int, colors[k]))) for k in listed]
    return with_legend(mixed.astype(np.uint8), entries)


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    """Return the number of the class that each word stands for, words written plainly."""
    return {
        _plain(word): number
        for number, one in enumerate(classes)
        for word in one.split(BETWEEN_SYNONYMS)
    }


def _plain(words: str) -> str:
    """Return the first of some synonyms, as words are compared: without case."""
    return words.split(BETWEEN_SYNONYMS)[0].strip().lower()


def _photo(sample: SemanticSample) -> npt.NDArray[np.uint8]:
    if sample.photo is None:
        raise InputError(f"{sample.key}: the sample comes without its photograph")
    return sample.photo
