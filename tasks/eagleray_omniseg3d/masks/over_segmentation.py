"""A classical stand-in for learned masks, for machines without weights: nested color regions.

Watershed regions are merged along ever weaker color edges; the regions of all levels are the
masks. They nest, so they exercise everything after Segment Anything, but they follow colors, not
things.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from eagleray_omniseg3d.masks.run_lengths import BoolArray

_MERGE_AT = (5.0, 9.0, 14.0, 20.0, 28.0)
"""Mean color differences (CIELAB units) below which neighbors are one region, level by level."""
_FLAT_GRADIENT = 2.0
"""Gradient magnitude (CIELAB units per pixel) below which pixels seed a region."""
_MIN_AREA_PX = 128
"""Smallest mask, as Segment Anything's smallest region here."""
_MAX_SHARE = 0.95
"""Regions that cover more of the image than this say nothing."""

LabelArray = npt.NDArray[np.int64]


def over_segment(image: npt.NDArray[np.uint8]) -> BoolArray:
    """Return nested regions of an image.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (N, H, W) bool masks, finest level first.
    """
    smooth = cv2.bilateralFilter(image, d=7, sigmaColor=30, sigmaSpace=5)
    lab = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    labels = _watershed(smooth, lab)
    masks: dict[bytes, BoolArray] = {}
    for threshold in _MERGE_AT:
        labels = _merge(labels, lab, threshold)
        counts = np.bincount(labels.ravel())
        for label in np.flatnonzero(counts >= _MIN_AREA_PX):
            if counts[label] <= _MAX_SHARE * labels.size:
                mask = labels == label
                masks.setdefault(np.packbits(mask).tobytes(), mask)
    return np.array(list(masks.values()), np.bool_).reshape(-1, *image.shape[:2])


def _watershed(image: npt.NDArray[np.uint8], lab: npt.NDArray[np.float32]) -> LabelArray:
    """Grow regions from flat places; region lines go to a neighbor."""
    steps = [cv2.Sobel(lab, cv2.CV_32F, dx, 1 - dx, ksize=3) / 4 for dx in (0, 1)]
    gradient = np.sqrt(sum((step**2).sum(axis=2) for step in steps))
    flat = (gradient < _FLAT_GRADIENT).astype(np.uint8)
    count, seeds = cv2.connectedComponents(flat, connectivity=4)
    if count <= 1:
        return np.zeros(image.shape[:2], np.int64)
    labels = cv2.watershed(np.ascontiguousarray(image), seeds.astype(np.int32))
    filled = labels.copy()
    kernel = np.ones((3, 3), np.uint8)
    while (filled <= 0).any():
        grown = cv2.dilate(np.maximum(filled, 0).astype(np.float32), kernel).astype(np.int32)
        filled = np.where(filled <= 0, grown, filled)
    return filled.astype(np.int64)


def _merge(labels: LabelArray, lab: npt.NDArray[np.float32], threshold: float) -> LabelArray:
    """Join neighboring regions whose mean colors differ by less than a threshold, nearest first."""
    _, flat = np.unique(labels, return_inverse=True)
    labels = flat.reshape(labels.shape).astype(np.int64)
    count = int(labels.max()) + 1
    sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    sums = [np.bincount(labels.ravel(), lab[..., c].ravel(), count) for c in range(3)]
    colors = np.stack(sums, axis=1) / sizes[:, None]
    pairs = _neighbors(labels)
    distance = np.linalg.norm(colors[pairs[:, 0]] - colors[pairs[:, 1]], axis=1)
    root = np.arange(count)

    def find(a: int) -> int:
        while root[a] != a:
            root[a] = root[root[a]]
            a = int(root[a])
        return a

    for index in np.argsort(distance, kind="stable"):
        if distance[index] >= threshold:
            break
        a, b = find(int(pairs[index, 0])), find(int(pairs[index, 1]))
        if a != b and np.linalg.norm(colors[a] - colors[b]) < threshold:
            total = sizes[a] + sizes[b]
            colors[a] = (colors[a] * sizes[a] + colors[b] * sizes[b]) / total
            sizes[a], root[b] = total, a
    merged = np.array([find(a) for a in range(count)], np.int64)
    return merged[labels]


def _neighbors(labels: LabelArray) -> LabelArray:
    sides = ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1]))
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in sides])
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0)
