"""Rays over a frozen geometry, marched once: the samples that make up each pixel's feature.

A pixel is marched when it is drawn first, and keeps the noise of that step. Where every step may
draw other noise instead (the original), nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from eagleray_omniseg3d.model.rendering import FeatureSamples

_UNKNOWN = -1
_FIRST_CAPACITY = 1 << 14


@dataclass(slots=True)
class _View:
    """Samples of the pixels of one view, packed in the order in which the pixels came.

    Args:
        first: (P,) first sample of each pixel, -1 while it is unknown.
        count: (P,) samples of each pixel.
        positions: (capacity, 3) positions, scene coordinates.
        weights: (capacity,) weights.
        used: Samples that are filled in.
    """

    first: Tensor
    count: Tensor
    positions: Tensor
    weights: Tensor
    used: int = 0

    def add(self, pixel_idx: Tensor, found: FeatureSamples) -> None:
        """Keep the samples of n pixels, given by their place among the n."""
        order = torch.argsort(found.ray_indices, stable=True)
        count = torch.bincount(found.ray_indices, minlength=len(pixel_idx))
        end = self.used + len(order)
        if end > len(self.weights):
            self.positions, self.weights = (
                _grown(t, self.used, 2 * end) for t in (self.positions, self.weights)
            )
        self.positions[self.used : end], self.weights[self.used : end] = (
            found.positions[order],
            found.weights[order],
        )
        self.first[pixel_idx] = self.used + torch.cumsum(count, 0) - count
        self.count[pixel_idx] = count
        self.used = end

    def get(self, pixel_idx: Tensor) -> FeatureSamples:
        """Return the samples of n known pixels."""
        count = self.count[pixel_idx]
        ray_indices = torch.repeat_interleave(count)
        before = torch.cumsum(count, 0) - count
        place = torch.arange(len(ray_indices), device=count.device)
        place = place + (self.first[pixel_idx] - before)[ray_indices]
        return FeatureSamples(ray_indices, self.positions[place], self.weights[place])


class FrozenRays:
    """Remembers the feature samples of pixels, view by view.

    Args:
        num_pixels: Pixels of a view.
    """

    def __init__(self, num_pixels: int) -> None:
        self._num_pixels = num_pixels
        self._views: dict[int, _View] = {}

    def samples(
        self, view_idx: int, pixel_idx: Tensor, march: Callable[[Tensor], FeatureSamples]
    ) -> FeatureSamples:
        """Return the samples of n pixels of a view.

        Args:
            view_idx: The view.
            pixel_idx: (n,) distinct pixels.
            march: Finds the samples of those among the n that are not known yet, given by their
                places (m,); ``ray_indices`` of its result counts these m.
        """
        view = self._views.get(view_idx)
        if view is None:
            view = self._views[view_idx] = self._empty(pixel_idx.device)
        unknown = torch.nonzero(view.first[pixel_idx] == _UNKNOWN)[:, 0]
        if len(unknown):
            view.add(pixel_idx[unknown], march(unknown))
        return view.get(pixel_idx)

    def _empty(self, device: torch.device) -> _View:
        first = torch.full((self._num_pixels,), _UNKNOWN, dtype=torch.int64, device=device)
        return _View(
            first,
            torch.zeros_like(first),
            torch.empty(_FIRST_CAPACITY, 3, device=device),
            torch.empty(_FIRST_CAPACITY, device=device),
        )


def _grown(values: Tensor, used: int, capacity: int) -> Tensor:
    larger = values.new_empty(capacity, *values.shape[1:])
    larger[:used] = values[:used]
    return larger
