"""How images enter the network, and the images of a training split.

Photographs and labels are resized by OpenCV's rules. In training a scale is drawn, then a crop,
then a mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eagleray.task import InputError, Rows
from eagleray_efficientps.settings import InputSettings
from eagleray_vision.panoptic.label_space import VOID_CLASS
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.samples.dataset import PanopticDataset
from eagleray_vision.samples.placement import Crop, ImageNormalization, Placement
from eagleray_vision.samples.sample import PanopticSample

MAX_DRAWS = 200
"""Images drawn in place of one whose crop shows no thing, before the split is refused."""


def fitted_size(size_hw: tuple[int, int], settings: InputSettings, scale: float) -> tuple[int, int]:
    """Return the size of a photograph on the network's input.

    Args:
        size_hw: Height and width of the photograph in pixels.
        settings: Sizes of the network input.
        scale: Factor of ``settings.size_hw``.

    Example:
        >>> fitted_size((375, 1242), InputSettings(size_hw=(384, 1280)), 1.0)
        (384, 1272)
    """
    height, width = (max(1, int(side * scale)) for side in settings.size_hw)
    if not settings.keep_shape:
        return (height, width)
    longer, shorter = max(height, width), min(height, width)
    factor = min(longer / max(size_hw), shorter / min(size_hw))
    return (max(1, int(size_hw[0] * factor + 0.5)), max(1, int(size_hw[1] * factor + 0.5)))


@dataclass(frozen=True)
class EvaluationPlacement:
    """The placement of images that are not trained on.

    Attributes:
        settings: Sizes of the network input.
    """

    settings: InputSettings

    def __call__(
        self, size_hw: tuple[int, int], rng: np.random.Generator | None = None
    ) -> Placement:
        """Return the placement of a photograph of a size, in pixels."""
        return Placement(fitted_size(size_hw, self.settings, 1.0), resizing="opencv")


@dataclass(frozen=True)
class TrainingPlacement:
    """Draws scale, crop and mirror image of a training image.

    Attributes:
        settings: Sizes of the network input.
    """

    settings: InputSettings

    def __call__(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Placement:
        """Return the placement of a photograph of a size, in pixels."""
        settings = self.settings
        scale = rng.uniform(*settings.random_scale) if settings.random_scale else 1.0
        height, width = fitted_size(size_hw, settings, scale)
        crop = (min(height, settings.crop_hw[0]), min(width, settings.crop_hw[1]))
        top = int(rng.integers(height - crop[0] + 1))
        left = int(rng.integers(width - crop[1] + 1))
        flip = bool(rng.random() < settings.flip_probability)
        return Placement((height, width), flip, Crop(top, left, crop), resizing="opencv")


class TrainingDataset(PanopticDataset):
    """The images of the training split.

    Args:
        rows: Records of the label stage.
        root: Folder of the data set.
        place: Draws scales, crops and mirror images.
        normalization: Colors that the network expects.
        pad_multiple: Heights and widths of batches become multiples of this.
        num_stuff: Stuff classes.
        things_only: Replace an image whose crop shows no instance by another one, as the released
            code does, which so never trains on images without things.
    """

    def __init__(
        self,
        rows: Rows,
        root: Path,
        place: TrainingPlacement,
        normalization: ImageNormalization,
        *,
        pad_multiple: int,
        num_stuff: int,
        things_only: bool,
    ) -> None:
        super().__init__(rows, root, place, normalization, training=True, pad_multiple=pad_multiple)
        self._num_stuff, self._things_only = num_stuff, things_only

    def load(self, index: int, rng: np.random.Generator) -> PanopticSample:
        """Read one image and its labels, and place them on the network's input.

        Raises:
            InputError: With ``things_only``, no instance was found in many crops.
        """
        sample = super().load(index, rng)
        if not self._things_only:
            return sample
        for _ in range(MAX_DRAWS):
            if sample.placed is not None and shows_instance(sample.placed, self._num_stuff):
                return replace(sample, key=self.key(index))
            sample = super().load(int(rng.integers(len(self))), rng)
        raise InputError(
            f"{self.key(index)}: no thing in the crops of {MAX_DRAWS} images that were drawn in "
            "its place; is the class list right? faithful: false trains on images without things"
        )


def shows_instance(panoptic: IndexedPanoptic, num_stuff: int) -> bool:
    """Return whether there is a thing that is no group; segments without pixels are gone before."""
    kinds: Sequence[int] = panoptic.categories.tolist()
    return any(
        kind >= num_stuff and kind != VOID_CLASS and not crowd
        for kind, crowd in zip(kinds, panoptic.is_crowd.tolist(), strict=True)
    )
