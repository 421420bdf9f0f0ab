"""Crops of frames with what each of their patches shows, balanced over words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from toy_clip_frames import Frame

from eagleray_toyworld.scene.words import SURFACE_WORDS

IMAGE_PX = 64
"""Side of the pictures that the toy CLIP is made for."""
PATCH_PX = 8
STUFF = frozenset(
    SURFACE_WORDS.index(name)
    for name in ("road", "sky", "grass", "wall", "floor", "ceiling", "building", "sidewalk", "curb")
)
"""Words whose regions are cut anywhere, not around their box."""
_LEAST_PX = 40
"""Smallest region that is looked at, pixels of a frame."""
_MOST_REGIONS = 8
"""Regions of a crop that take part, largest first, its own among them."""
_LEAST_PATCHES = 1.0
"""Smallest region of a crop that takes part, patches."""
_WIDE_SHARE = 0.2
_TIGHT = 1.4
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class Place:
    """A region that crops are cut around.

    Attributes:
        frame: Number of the frame.
        region: Number of the region.
        box: Its rows and columns (y0, x0, y1, x1), the last ones excluded.
        pixels: Some of its pixels, flat.
        count: Number of all of its pixels.
    """

    frame: int
    region: int
    box: tuple[int, int, int, int]
    pixels: NDArray[np.int32]
    count: int


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A small square picture.

    Attributes:
        rgb: (px, px, 3) uint8.
        words: (n,) words of its regions; the first is what the crop is cut around.
        colors: (n,) their colors.
        shares: (n, patches) float32 share of each patch that a region takes.
    """

    rgb: NDArray[np.uint8]
    words: NDArray[np.uint8]
    colors: NDArray[np.uint8]
    shares: NDArray[np.float32]


def places_of(frames: Sequence[Frame], least_px: int = _LEAST_PX) -> dict[int, list[Place]]:
    """Return the regions that are large enough, by word."""
    out: dict[int, list[Place]] = {}
    for number, frame in enumerate(frames):
        order = np.argsort(frame.region, axis=None, kind="stable")
        counts = np.bincount(frame.region.ravel(), minlength=len(frame.word))
        ends = np.cumsum(counts)
        width = frame.region.shape[1]
        for region in np.flatnonzero(counts >= least_px).tolist():
            flat = order[ends[region] - counts[region] : ends[region]]
            rows, columns = flat // width, flat % width
            box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
            some = flat[:: max(1, len(flat) // 64)].astype(np.int32)
            place = Place(
                frame=number, region=region, box=box, pixels=some, count=int(counts[region])
            )
            out.setdefault(int(frame.word[region]), []).append(place)
    return out


def window(frame: Frame, place: Place, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return top, left and side of a square window around a region."""
    height, width = frame.region.shape
    word = int(frame.word[place.region])
    y0, x0, y1, x1 = place.box
    longest = max(y1 - y0, x1 - x0)
    if word in STUFF or longest > 0.75 * height:
        pixel = int(place.pixels[int(rng.integers(len(place.pixels)))])
        y, x, side = pixel // width, pixel % width, rng.uniform(24, 110)
    else:
        side = longest * rng.uniform(1.05, 2.0)
        y = 0.5 * (y0 + y1) + rng.uniform(-0.12, 0.12) * side
        x = 0.5 * (x0 + x1) + rng.uniform(-0.12, 0.12) * side
    if rng.random() < _WIDE_SHARE:
        side = max(side, rng.uniform(90, 190))
    size = int(min(max(side, 16), height, width))
    return *_inside(frame, (y - 0.5 * size, x - 0.5 * size), size), size


def tight_window(frame: Frame, place: Place, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return top, left and side of a square window that shows a region first of all.

    Around the box with a fifth more on all sides; for regions without a box, the one of some
    windows within them of which they take most.
    """
    height, width = frame.region.shape
    y0, x0, y1, x1 = place.box
    longest = max(y1 - y0, x1 - x0)
    if int(frame.word[place.region]) not in STUFF and longest <= 0.75 * height:
        size = int(min(max(_TIGHT * longest, 16), height, width))
        corner = (0.5 * (y0 + y1 - size), 0.5 * (x0 + x1 - size))
        return *_inside(frame, corner, size), size
    best, most = (0, 0, 0), -1.0
    for _ in range(_TRIES):
        pixel = int(place.pixels[int(rng.integers(len(place.pixels)))])
        size = int(min(rng.uniform(24, 80), height, width))
        top, left = _inside(frame, (pixel // width - 0.5 * size, pixel % width - 0.5 * size), size)
        part = frame.region[top : top + size, left : left + size] == place.region
        if part.mean() > most:
            best, most = (top, left, size), float(part.mean())
    return best


def _inside(frame: Frame, corner: tuple[float, float], size: int) -> tuple[int, int]:
    """Return the upper left corner of a window, moved into the picture."""
    top, left = (
        int(min(max(at, 0), side - size))
        for at, side in zip(corner, frame.region.shape, strict=True)
    )
    return top, left


def cut(
    frame: Frame, place: Place, rng: np.random.Generator, *, augment: bool, px: int = IMAGE_PX
) -> Crop | None:
    """Cut a crop of px x px; None where its region has less than a patch of it.

    Args:
        frame: What is cut.
        place: The region that the crop is of.
        rng: Draws the window and the changes.
        augment: Whether windows are drawn widely and crops are mirrored and lit differently, as
            in training; else the window is tight.
        px: Side of the crop, pixels.
    """
    top, left, side = window(frame, place, rng) if augment else tight_window(frame, place, rng)
    rows, columns = slice(top, top + side), slice(left, left + side)
    shrinks = side > px
    size = (px, px)
    rgb = cv2.resize(
        frame.rgb[rows, columns],
        size,
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    region = cv2.resize(frame.region[rows, columns], size, interpolation=cv2.INTER_NEAREST)
    if augment:
        if rng.random() < 0.5:
            rgb, region = rgb[:, ::-1], region[:, ::-1]
        light = rng.uniform(0.8, 1.2)
        shift = rng.uniform(-14, 14)
        rgb = np.clip(rgb.astype(np.float32) * light + shift, 0, 255).astype(np.uint8)
    numbers, counts = np.unique(region, return_counts=True)
    enough = counts >= _LEAST_PATCHES * PATCH_PX * PATCH_PX
    ranked = [int(n) for n in numbers[enough][np.argsort(-counts[enough])]]
    if place.region not in ranked:
        return None
    chosen = [place.region, *(n for n in ranked if n != place.region)][:_MOST_REGIONS]
    masks = np.stack([region == n for n in chosen]).astype(np.float32)
    grid = px // PATCH_PX
    tiles = masks.reshape(len(chosen), grid, PATCH_PX, grid, PATCH_PX).mean((2, 4))
    return Crop(
        rgb=np.ascontiguousarray(rgb),
        words=frame.word[chosen],
        colors=frame.color[chosen],
        shares=tiles.reshape(len(chosen), -1),
    )


class CropSource:
    """Endless crops, each word as often as any other.

    Args:
        frames: What is cut.
        seed: Seed of the draws.
    """

    def __init__(self, frames: Sequence[Frame], seed: int) -> None:
        self._frames, self._places = frames, places_of(frames)
        self.words = sorted(self._places)
        self._seed = seed
        self._large_places: dict[tuple[int, int], list[Place]] = {}

    def batch(self, step: int, size: int, px: int, least_px: int) -> list[Crop]:
        """Return the crops of a step, which depend on nothing but the seed and its number.

        Args:
            step: Number of the step.
            size: How many crops.
            px: Their side.
            least_px: Smallest region that they are cut around, pixels of a frame.
        """
        rng = np.random.default_rng([self._seed, step])
        out: list[Crop] = []
        while len(out) < size:
            ones = self._large(self.words[int(rng.integers(len(self.words)))], least_px)
            place = ones[int(rng.integers(len(ones)))]
            crop = cut(self._frames[place.frame], place, rng, augment=True, px=px)
            if crop is not None:
                out.append(crop)
        return out

    def _large(self, word: int, least_px: int) -> list[Place]:
        """Return the regions of a word that are large enough; the largest where none is."""
        key = (word, least_px)
        if key not in self._large_places:
            ones = self._places[word]
            large = [one for one in ones if one.count >= least_px]
            self._large_places[key] = large or [max(ones, key=lambda one: one.count)]
        return self._large_places[key]
