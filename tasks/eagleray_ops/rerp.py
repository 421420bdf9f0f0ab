"""Random equirectangular projection (RERP): photographs distorted as panoramas are.

A square crop, its four quadrants permuted, becomes the front face of a cube map whose other faces
are empty. Of the panorama of that cube the middle is kept: longitudes and latitudes within 45
degrees, as many pixels as the crop has (OPS, section on data augmentation).

The original's geometry is not quite that of a cube (see `eagleray_vision.sphere.library_cube`): a
faint copy of the crop's first row appears above it, the last row and column fade away, and colors
are truncated. ``faithful`` keeps this to the bit; without it pixels lie at their centers, colors
are rounded, and the crop may be seen from the side (yaw, pitch).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from eagleray.task import InputError
from eagleray_vision.images.opencv_resizing import resize_bilinear, resize_nearest_floor
from eagleray_vision.images.resizing import shortest_edge_size
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.sphere.directions import Floats, View, panorama_directions
from eagleray_vision.sphere.library_cube import FRONT, UP, CubePositions, cube_positions
from eagleray_vision.sphere.perspective import view_pixels

Pixel = TypeVar("Pixel", bound=np.generic)
Indices = npt.NDArray[np.int64]

QUADRANTS = 4
EMPTY_LEVEL = 0
"""Color of what the crop does not reach, as in the original."""

_RIGHT_ANGLE_DEG = 90.0
_NEAR_WHOLE = np.float32(2e-4)
"""Above what float32 loses in a sum of four colors, far below a level."""


class OddCropError(InputError):
    """A crop that cannot be cut into quadrants, or is no square."""


@dataclass(frozen=True, slots=True)
class RerpDraw:
    """What chance decides for one image.

    Attributes:
        top: First row of the crop in the resized image.
        left: First column.
        order: The quadrant (0 upper left, 1 upper right, 2 lower left, 3 lower right) that each
            place takes; None leaves them.
        yaw_deg: How far to the right the crop is seen.
        pitch_deg: How far up.
    """

    top: int
    left: int
    order: tuple[int, ...] | None
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0


def draw_rerp(
    size_hw: tuple[int, int],
    crop_px: int,
    rng: np.random.Generator,
    *,
    shuffle: bool,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
) -> RerpDraw:
    """Draw a crop, a permutation and, where they are asked for, angles.

    Args:
        size_hw: Height and width of the resized image, none below ``crop_px``.
        crop_px: Side of the crop in pixels.
        rng: Source of chance.
        shuffle: Permute the quadrants; all 24 orders are equally likely.
        yaw_deg: Largest angle to either side.
        pitch_deg: Largest angle up or down.
    """
    top, left = (int(rng.integers(side - crop_px + 1)) for side in size_hw)
    order = tuple(int(one) for one in rng.permutation(QUADRANTS)) if shuffle else None
    yaw, pitch = (float(rng.uniform(-most, most)) if most else 0.0 for most in (yaw_deg, pitch_deg))
    return RerpDraw(top, left, order, yaw, pitch)


def rerp(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    crop_px: int,
    rng: np.random.Generator,
    *,
    shuffle: bool,
    faithful: bool,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Make one distorted image and its labels out of a photograph.

    Args:
        image: ``(H, W, 3)`` uint8, of any size: its shorter side is brought to ``crop_px``.
        labels: ``(H, W)`` uint8, 255 is unlabeled.
        crop_px: Side of the crop and of the result; even.
        rng: Source of chance; the same one gives the same image.
        shuffle: Permute the quadrants.
        faithful: Project as the original does.
        yaw_deg: Largest angle to either side; not with ``faithful``.
        pitch_deg: Largest angle up or down; not with ``faithful``.

    Returns:
        ``(crop_px, crop_px, 3)`` and ``(crop_px, crop_px)``, uint8.

    Raises:
        OddCropError: The crop has no halves.
        InputError: Image and labels differ in size.
    """
    if image.shape[:2] != labels.shape:
        raise InputError(
            f"the image has {image.shape[:2]} pixels (height, width), its labels {labels.shape}; "
            "RERP needs both in one size"
        )
    check_crop((crop_px, crop_px))
    size = shortest_edge_size((image.shape[0], image.shape[1]), crop_px, None)
    image, labels = resize_bilinear(image, size), resize_nearest_floor(labels, size)
    drawn = draw_rerp(size, crop_px, rng, shuffle=shuffle, yaw_deg=yaw_deg, pitch_deg=pitch_deg)
    rows, columns = slice(drawn.top, drawn.top + crop_px), slice(drawn.left, drawn.left + crop_px)
    image, labels = image[rows, columns], labels[rows, columns]
    if drawn.order is not None:
        image = permuted_quadrants(image, drawn.order)
        labels = permuted_quadrants(labels, drawn.order)
    projection = rerp_projection(crop_px, drawn, faithful=faithful)
    return projection.image(image), projection.labels(labels)


def permuted_quadrants(picture: npt.NDArray[Pixel], order: tuple[int, ...]) -> npt.NDArray[Pixel]:
    """Return a square picture with its quadrants in another order.

    Args:
        picture: ``(s, s)`` or ``(s, s, C)``, s even.
        order: The quadrant that each place takes: upper left, upper right, lower left, lower right.

    Raises:
        OddCropError: The picture has no such quadrants.

    Example:
        >>> permuted_quadrants(np.array([[1, 2], [3, 4]]), (3, 0, 1, 2)).tolist()
        [[4, 1], [2, 3]]
    """
    check_crop(picture.shape[:2])
    half = picture.shape[0] // 2
    halves = (slice(0, half), slice(half, None))
    places = [(rows, columns) for rows in halves for columns in halves]
    moved = np.empty_like(picture)
    for place, source in zip(places, order, strict=True):
        moved[place] = picture[places[source]]
    return moved


def check_crop(size_hw: tuple[int, ...]) -> None:
    """Refuse a crop that is no square of even sides.

    Raises:
        OddCropError: It is not.
    """
    if size_hw[0] != size_hw[1] or size_hw[0] % 2 or size_hw[0] < 2:
        raise OddCropError(
            f"RERP cuts a square crop into four equal quadrants; {size_hw[0]} x {size_hw[1]} has "
            "none: give an even side"
        )


class RerpProjection:
    """From the pixels of a square crop to the middle of its panorama, for pictures of one size.

    Args:
        crop_px: Side of the crop.
        sources: ``(crop_px ** 2, 4)`` pixel of the flattened crop that each of four neighbors is
            (upper left, upper right, lower left, lower right); ``crop_px ** 2`` where nothing is.
        down: ``(crop_px ** 2,)`` share of the lower neighbors.
        right: ``(crop_px ** 2,)`` share of the right neighbors.
        nearest: ``(crop_px ** 2,)`` pixel that a label is taken from, likewise.
        truncates: Truncate colors in scipy's arithmetic, instead of rounding them.
    """

    def __init__(
        self,
        crop_px: int,
        sources: Indices,
        down: Floats,
        right: Floats,
        nearest: Indices,
        *,
        truncates: bool,
    ) -> None:
        count = crop_px**2
        across, along = (1 - right, 1 - (1 - right)), (1 - down, 1 - (1 - down))
        weights = np.stack([y * x for y in along for x in across], axis=1)
        # every row has its four neighbors; MKL's product takes two thirds of the time of scipy's
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that such tensors are new in torch
            self._matrix = torch.sparse_csr_tensor(
                torch.arange(0, 4 * count + 1, 4, dtype=torch.int32),
                torch.from_numpy(np.minimum(sources, count - 1).astype(np.int32).ravel()),
                torch.from_numpy(np.where(sources < count, weights, 0).astype(np.float32).ravel()),
                size=(count, count),
            )
        self._sources, self._shares = np.ascontiguousarray(sources.T), (along, across)
        self._crop_px, self._nearest = crop_px, nearest.astype(np.int32)
        # within the crop, neighbors are the pixel, the next one, and those of the next row
        self._is_inside = (sources < count).all(axis=1) & (sources[:, 3] - sources[:, 0] > crop_px)
        self._upper_left = np.where(self._is_inside, sources[:, 0], count - 1)
        self._drops = self._find_drops() if truncates else None

    @classmethod
    def of_library(cls, crop_px: int) -> Self:
        """Return the projection of the original, to the bit."""
        size_hw = (2 * crop_px, 4 * crop_px)
        half = crop_px // 2
        window = (slice(half, half + crop_px), slice(3 * half, 3 * half + crop_px))
        positions = cube_positions(size_hw, crop_px, *window)
        top, left = np.floor(positions.rows), np.floor(positions.columns)
        down, right = positions.rows - top, positions.columns - left
        neighbors = [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]
        sources = [_library_pixel(positions, *one, crop_px) for one in neighbors]
        nearest = (np.floor(positions.rows + 0.5), np.floor(positions.columns + 0.5))
        return cls(
            crop_px,
            np.stack([one.ravel() for one in sources], axis=1),
            down.ravel(),
            right.ravel(),
            _library_pixel(positions, *nearest, crop_px).ravel(),
            truncates=True,
        )

    @classmethod
    def of_view(cls, crop_px: int, yaw_deg: float, pitch_deg: float) -> Self:
        """Return the projection of a crop seen at an angle, with pixels at their centers."""
        half = crop_px // 2
        directions = panorama_directions((2 * crop_px, 4 * crop_px))
        window = directions[half : half + crop_px, 3 * half : 3 * half + crop_px]
        view = View(_RIGHT_ANGLE_DEG, _RIGHT_ANGLE_DEG, yaw_deg, pitch_deg)
        columns, rows, seen = view_pixels(view, (crop_px, crop_px), window)
        last = crop_px - 1
        column, row = np.clip(columns, 0, last).ravel(), np.clip(rows, 0, last).ravel()
        left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
        beside, below = np.minimum(left + 1, last), np.minimum(top + 1, last)
        right, down = column - left, row - top
        pixels = [
            r * crop_px + c for r, c in ((top, left), (top, beside), (below, left), (below, beside))
        ]
        nearest = np.floor(row + 0.5).astype(np.int64) * crop_px + np.floor(column + 0.5)
        empty, there = crop_px**2, seen.ravel()
        return cls(
            crop_px,
            np.where(there[:, None], np.stack(pixels, axis=1), empty),
            down,
            right,
            np.where(there, nearest, empty).astype(np.int64),
            truncates=False,
        )

    def image(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Project colors ``(s, s, C)`` bilinearly; black where the crop does not reach."""
        self._check(crop)
        flat = crop.reshape(self._crop_px**2, -1)
        mixed = (self._matrix @ torch.from_numpy(flat.astype(np.float32))).numpy()
        if self._drops is None:
            return (mixed + np.float32(0.5)).astype(np.uint8).reshape(crop.shape)
        # truncation tells 100 from 99.99999999999999: next to whole levels the sum is made exactly,
        # but for one color around, where it is that color, less one where rounding says so
        levels = (mixed + _NEAR_WHOLE).astype(np.uint8)
        unsure = levels != (mixed - _NEAR_WHOLE).astype(np.uint8)
        one_color = self._one_color(crop)
        unsure &= ~one_color
        places = np.flatnonzero(unsure)
        levels.reshape(-1)[places] = self._exact(flat, places).astype(np.uint8)
        pixels, values = self._drops
        falls = (levels[pixels] == values[:, None]) & one_color[pixels]
        falling, channels = np.nonzero(falls)
        levels[pixels[falling], channels] -= 1
        return levels.reshape(crop.shape)

    def colors(self, crop: npt.NDArray[np.uint8]) -> Floats:
        """Project colors ``(s, s, C)`` in scipy's order of additions, before they are truncated."""
        self._check(crop)
        flat = crop.reshape(self._crop_px**2, -1)
        return self._exact(flat, np.arange(crop.size)).reshape(crop.shape)

    def _exact(self, flat: npt.NDArray[np.uint8], places: Indices) -> Floats:
        """Return the values at places of the flattened result."""
        pixels, channels = np.divmod(places, flat.shape[1])
        levels = np.append(flat.ravel(), np.zeros(flat.shape[1], np.uint8))
        total = np.zeros(len(places))
        for neighbor, (y, x) in zip(self._sources, self._four_shares(), strict=True):
            values = levels[neighbor[pixels] * flat.shape[1] + channels].astype(np.float64)
            total += values * y[pixels] * x[pixels]
        return total

    def _four_shares(self) -> list[tuple[Floats, Floats]]:
        """Return the vertical and horizontal share of each neighbor."""
        along, across = self._shares
        return [(y, x) for y in along for x in across]

    def _one_color(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return for every value of the result whether its four neighbors are equal, ``(n, C)``."""
        beside = crop[:, :-1] == crop[:, 1:]
        below = crop[:-1] == crop[1:]
        same = np.zeros(crop.shape, bool)
        np.logical_and(beside[:-1], beside[1:], out=same[:-1, :-1])
        same[:-1, :-1] &= below[:, :-1]
        return np.take(same.reshape(-1, crop.shape[2]), self._upper_left, axis=0)

    def _find_drops(self) -> tuple[Indices, npt.NDArray[np.uint8]]:
        """Return the pixels, and the colors, at which four equal neighbors sum to less.

        A handful per million: products and sums are rounded, and mostly up or not at all.
        """
        pixels = np.flatnonzero(self._is_inside)
        shares = [(y[pixels], x[pixels]) for y, x in self._four_shares()]
        found: list[tuple[Indices, int]] = []
        for odd in range(1, 256, 2):  # twice a color has twice the sum, exactly
            total = np.zeros(len(pixels))
            for y, x in shares:
                total += odd * y * x
            falling = pixels[total < odd]
            value = odd
            while len(falling) and value < 256:
                found.append((falling, value))
                value *= 2
        values = [np.full(len(one), value, np.uint8) for one, value in found]
        empty = np.empty(0, np.int64)
        return (
            np.concatenate([empty, *(one for one, _ in found)]),
            np.concatenate([np.empty(0, np.uint8), *values]),
        )

    def labels(self, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Project labels ``(s, s)``; void where the crop does not reach."""
        self._check(crop)
        padded = np.append(crop.ravel(), np.uint8(VOID_CLASS))
        return padded[self._nearest].reshape(crop.shape)

    def _check(self, crop: npt.NDArray[np.uint8]) -> None:
        if crop.shape[:2] != (self._crop_px, self._crop_px):
            raise OddCropError(
                f"this projection is for crops of {self._crop_px} x {self._crop_px} pixels, the "
                f"crop has {crop.shape[0]} x {crop.shape[1]}"
            )


def rerp_projection(crop_px: int, drawn: RerpDraw, *, faithful: bool) -> RerpProjection:
    """Return the projection for a draw; those without angles are made once per size."""
    check_crop((crop_px, crop_px))
    if faithful or not (drawn.yaw_deg or drawn.pitch_deg):
        return _straight_projection(crop_px, faithful)
    return RerpProjection.of_view(crop_px, drawn.yaw_deg, drawn.pitch_deg)


@lru_cache(maxsize=4)
def _straight_projection(crop_px: int, faithful: bool) -> RerpProjection:
    if faithful:
        return RerpProjection.of_library(crop_px)
    return RerpProjection.of_view(crop_px, 0.0, 0.0)


def _library_pixel(positions: CubePositions, row: Floats, column: Floats, crop_px: int) -> Indices:
    """Return the crop's pixel at positions of the cube map whose other faces are empty.

    The upper face borrows its last row from the front face, so that the crop's first row leaks in;
    the last row and column of the front face are borrowed from empty faces.
    """
    inside = column < crop_px
    front = (positions.face == FRONT) & inside & (row < crop_px)
    leak = (positions.face == UP) & inside & (row == crop_px)
    pixel = np.where(front, row * crop_px + column, np.where(leak, column, crop_px**2))
    return pixel.astype(np.int64)
