"""A classical stand-in for learned masks, for machines without weights: nested regions by edges
and colors.

Watershed regions are merged pair by pair, weakest common boundary first, into a tree (as in
hierarchical segmentation by boundaries: Arbelaez et al., IEEE TPAMI 33(5), 2011, there with
learned boundaries). Cutting a tree where 128, 64, ... 2 regions are left gives nested masks that do
not depend on the contrast of the picture. Two trees vote: one looks at boundaries only, the other
weighs them with the difference of colors and textures.

The masks exercise everything after Segment Anything, but they follow edges, not things.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.masks.run_lengths import BoolArray

_REGION_COUNTS = (128, 64, 32, 16, 8, 4, 2)
"""Regions left at the levels of a tree, finest first."""
_COLOR_EXPONENTS = (0.0, 0.2)
"""Exponent of the color difference in the cost of a merge, tree by tree."""
_SIZE_EXPONENT = 0.25
"""Exponent of the smaller region's area: small regions merge early."""
_EDGE_OFFSET = 0.2
"""Gradient (CIELAB units per pixel) that every boundary has at least."""
_FLAT_GRADIENT = 2.0
"""Gradient magnitude (CIELAB units per pixel) below which pixels seed a region."""
_TEXTURE_SIGMAS_PX = (1.5, 3.0)
"""Scales at which the lightness is compared with its surroundings."""
_MIN_SHARE = 1e-3
"""Regions smaller than this share of the image are no masks of their own."""
_MAX_SHARE = 0.95
"""Regions that cover more of the image than this say nothing."""

LabelArray = npt.NDArray[np.int64]
FloatImage = npt.NDArray[np.float32]


def over_segment(image: npt.NDArray[np.uint8]) -> BoolArray:
    """Return nested regions of an image.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (N, H, W) bool masks, those of a tree nest; finest level first.
    """
    smooth = cv2.bilateralFilter(image, d=7, sigmaColor=30, sigmaSpace=5)
    lab = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    steps = [cv2.Sobel(lab, cv2.CV_32F, dx, 1 - dx, ksize=3) / 4 for dx in (0, 1)]
    gradient = np.sqrt(sum((step**2).sum(axis=2) for step in steps))
    labels = _watershed(smooth, gradient)
    look = np.concatenate([lab, _textures(image)], axis=2)
    smallest, largest = (share * labels.size for share in (_MIN_SHARE, _MAX_SHARE))
    masks: dict[bytes, BoolArray] = {}
    for exponent in _COLOR_EXPONENTS:
        tree = _RegionTree.of(labels, look, gradient, exponent)
        for count in _REGION_COUNTS:
            regions = tree.cut(count)[labels]
            areas = np.bincount(regions.ravel())
            for region in np.flatnonzero((areas >= smallest) & (areas <= largest)):
                mask = regions == region
                masks.setdefault(np.packbits(mask).tobytes(), mask)
    return np.array(list(masks.values()), np.bool_).reshape(-1, *image.shape[:2])


@dataclass(frozen=True, slots=True)
class _RegionTree:
    """Merges of regions 0..n-1; merge i makes region n + i out of two others.

    Args:
        num_leaves: n.
        parents: (n + merges,) the region that each became a part of, -1 at the end.
    """

    num_leaves: int
    parents: LabelArray

    @staticmethod
    def of(
        labels: LabelArray, look: FloatImage, gradient: FloatImage, color_exponent: float
    ) -> _RegionTree:
        """Merge neighboring regions until none are left.

        The cost of a merge is the mean gradient along the common boundary, times powers of the
        smaller area and of the difference of mean looks.

        Args:
            labels: (H, W) region of each pixel, 0..n-1.
            look: (H, W, C) color and texture.
            gradient: (H, W) strength of edges.
            color_exponent: Exponent of the difference of looks; 0 leaves it out.
        """
        count = int(labels.max()) + 1
        sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
        channels = np.moveaxis(look, 2, 0)
        sums = [np.bincount(labels.ravel(), channel.ravel(), count) for channel in channels]
        looks = list(np.stack(sums, axis=1) / sizes[:, None])
        areas, parents = sizes.tolist(), [-1] * count
        borders = _boundaries(labels, gradient, count)

        def cost(a: int, b: int) -> float:
            length, edge = borders[a][b]
            price = (edge / length + _EDGE_OFFSET) * min(areas[a], areas[b]) ** _SIZE_EXPONENT
            if not color_exponent:
                return float(price)
            difference = looks[a] - looks[b]
            return float(price * (float(difference @ difference) + 1.0) ** (color_exponent / 2))

        queue = [(cost(a, b), a, b) for a in range(count) for b in borders[a] if a < b]
        heapq.heapify(queue)
        while queue:
            _, a, b = heapq.heappop(queue)
            if parents[a] >= 0 or parents[b] >= 0:
                continue
            merged = len(areas)
            parents[a] = parents[b] = merged
            parents.append(-1)
            looks.append((looks[a] * areas[a] + looks[b] * areas[b]) / (areas[a] + areas[b]))
            areas.append(areas[a] + areas[b])
            borders.append(_joined(borders, a, b, merged))
            for other in borders[merged]:
                heapq.heappush(queue, (cost(merged, other), merged, other))
        return _RegionTree(count, np.array(parents, np.int64))

    def cut(self, count: int) -> LabelArray:
        """Return, for each leaf, its region where ``count`` regions are left."""
        end = max(len(self.parents) - count + 1, self.num_leaves)
        regions = np.arange(len(self.parents))
        for region in range(len(regions) - 1, -1, -1):
            parent = self.parents[region]
            if 0 <= parent < end:
                regions[region] = regions[parent]
        return regions[: self.num_leaves]


_Borders = list[dict[int, tuple[int, float]]]


def _joined(borders: _Borders, a: int, b: int, merged: int) -> dict[int, tuple[int, float]]:
    """Return length and sum of gradients of the boundaries of a and b together; their neighbors
    learn the new number.
    """
    joined: dict[int, tuple[int, float]] = {}
    for part, other_part in ((a, b), (b, a)):
        for other, (length, edge) in borders[part].items():
            if other != other_part:
                before = joined.get(other, (0, 0.0))
                joined[other] = before[0] + length, before[1] + edge
    for other, boundary in joined.items():
        borders[other].pop(a, None)
        borders[other].pop(b, None)
        borders[other][merged] = boundary
    return joined


def _boundaries(labels: LabelArray, gradient: FloatImage, count: int) -> _Borders:
    """Return, for each region, length (pixel pairs) and sum of gradients of the boundary with each
    neighbor.
    """
    codes, edges = [], []
    for one, two in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None),), (slice(None, -1),)),
    ):
        a, b = labels[one], labels[two]
        apart = a != b
        low, high = np.minimum(a, b)[apart], np.maximum(a, b)[apart]
        codes.append(low * count + high)
        edges.append(np.maximum(gradient[one], gradient[two])[apart])
    pairs, place = np.unique(np.concatenate(codes), return_inverse=True)
    lengths, sums = np.bincount(place), np.bincount(place, np.concatenate(edges))
    borders: _Borders = [{} for _ in range(count)]
    for pair, length, total in zip(pairs.tolist(), lengths.tolist(), sums.tolist(), strict=True):
        a, b = divmod(pair, count)
        borders[a][b] = borders[b][a] = length, total
    return borders


def _textures(image: npt.NDArray[np.uint8]) -> FloatImage:
    """Return the (H, W, S) mean deviation of the lightness from its surroundings, CIELAB units."""
    lightness = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]
    found = []
    for sigma in _TEXTURE_SIGMAS_PX:
        deviation = np.abs(lightness - cv2.GaussianBlur(lightness, (0, 0), sigma))
        found.append(cv2.GaussianBlur(deviation, (0, 0), 2 * sigma))
    return np.asarray(np.stack(found, axis=2), np.float32)


def _watershed(image: npt.NDArray[np.uint8], gradient: FloatImage) -> LabelArray:
    """Grow regions from flat places, numbered from 0; region lines go to a neighbor."""
    flat = (gradient < _FLAT_GRADIENT).astype(np.uint8)
    count, seeds = cv2.connectedComponents(flat, connectivity=4)
    if count <= 1:
        return np.zeros(image.shape[:2], np.int64)
    filled = cv2.watershed(np.ascontiguousarray(image), seeds.astype(np.int32)).copy()
    kernel = np.ones((3, 3), np.uint8)
    while (filled <= 0).any():
        grown = cv2.dilate(np.maximum(filled, 0).astype(np.float32), kernel).astype(np.int32)
        filled = np.where(filled <= 0, grown, filled)
    _, labels = np.unique(filled, return_inverse=True)
    return np.asarray(labels.reshape(filled.shape), np.int64)
