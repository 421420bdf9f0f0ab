"""How images enter the network: the scale and the flip that training draws, and the fixed size of
everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eagleray_seamseg.settings import InputSettings
from eagleray_vision.images.resizing import scale_to_shortest, scaled_size
from eagleray_vision.samples.placement import Placement, evaluation_placement


@dataclass(frozen=True)
class SeamlessPlacement:
    """The placement rule of the settings; Pillow's rules of resizing, no crops.

    Attributes:
        settings: Sizes of the network input.
        training: Draw flips and scales.
    """

    settings: InputSettings
    training: bool

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Placement:
        """Return the placement of a photograph of a size, in pixels."""
        settings = self.settings
        if not self.training:
            return evaluation_placement(
                size_hw,
                shortest_px=settings.shortest_px,
                longest_max_px=settings.longest_max_px,
            )
        return training_placement(
            size_hw,
            rng,
            shortest_px=settings.shortest_px,
            longest_max_px=settings.longest_max_px,
            random_scale=settings.random_scale,
            flip_probability=settings.flip_probability,
        )


def input_placement(
    size_hw: tuple[int, int], settings: InputSettings, *, faithful: bool
) -> Placement:
    """Return how a user's own file enters the network.

    Args:
        size_hw: Size of the photograph in pixels.
        settings: Sizes of the network input.
        faithful: Ignore the largest length of the longer side, as the original's test transform
            does, so that inference runs at another scale than validation.
    """
    longest = None if faithful else settings.longest_max_px
    return evaluation_placement(size_hw, shortest_px=settings.shortest_px, longest_max_px=longest)


def training_placement(
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    shortest_px: int,
    longest_max_px: int,
    random_scale: Sequence[float] | None,
    flip_probability: float,
) -> Placement:
    """Draw flip and scale of a training image.

    Args:
        size_hw: Size of the photograph in pixels.
        rng: Random numbers of this sample.
        shortest_px: Wanted length of the shorter side.
        longest_max_px: Largest length of the longer side.
        random_scale: Two entries: the shorter side is drawn between these multiples of
            ``shortest_px``; more: one of them is chosen; None: no random scale.
        flip_probability: Probability of mirroring.

    Returns:
        The placement.
    """
    flip = bool(rng.random() < flip_probability)
    target_px = shortest_px
    if random_scale is not None and len(random_scale) == 2:
        low, high = random_scale
        target_px = int(rng.uniform(shortest_px * low, shortest_px * high))
    elif random_scale is not None and len(random_scale) > 2:
        target_px = int(shortest_px * random_scale[int(rng.integers(len(random_scale)))])
    scale = scale_to_shortest(size_hw, max(1, target_px), longest_max_px)
    return Placement(scaled_size(size_hw, scale), flip)
