"""The one interface of all mask sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from eagleray.task import SettingsError
from eagleray_omniseg3d.errors import MaskError
from eagleray_omniseg3d.masks.over_segmentation import over_segment
from eagleray_omniseg3d.masks.run_lengths import BoolArray, read_mask_file, read_sav_frame
from eagleray_omniseg3d.masks.sam import DEFAULT, LLFF, SamMaskGenerator, load_sam
from eagleray_omniseg3d.settings import MaskSettings

RgbImage = npt.NDArray[np.uint8]


class MaskSource(Protocol):
    """Gives the masks of a view."""

    def masks(self, image: RgbImage, name: str) -> BoolArray:
        """Return the masks of an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            name: Name of the view.

        Returns:
            (N, H, W) bool; N may be 0.

        Raises:
            MaskError: The source has no usable masks for this view.
        """
        ...


class SamSource:
    """Segment Anything.

    Args:
        settings: Checkpoint, preset, batch size, precision.
        device: Where it runs.
    """

    def __init__(self, settings: MaskSettings, device: str) -> None:
        network = load_sam(Path(settings.checkpoint).expanduser(), settings.model, device)
        preset = LLFF if settings.preset == "llff" else DEFAULT
        thresholds = replace(preset, points_per_batch=settings.points_per_batch)
        self._generator = SamMaskGenerator(
            network, thresholds, half_precision=settings.half_precision
        )

    def masks(self, image: RgbImage, name: str) -> BoolArray:
        """Return the masks that the network finds."""
        return self._generator.generate(image)


class FileSource:
    """Run-length files (``run_lengths``) of the size of the view's image.

    Args:
        pattern: Path of the file by view name, with ``{name}``; or of an SA-V file, with
            ``#{frame}``.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def masks(self, image: RgbImage, name: str) -> BoolArray:
        """Read the file that belongs to the view."""
        path, frame_idx = mask_place(self._pattern, name)
        size_hw = image.shape[0], image.shape[1]
        if frame_idx is None:
            return read_mask_file(path, size_hw)
        return read_sav_frame(path, frame_idx, size_hw)


def mask_place(pattern: str, name: str) -> tuple[Path, int | None]:
    """Return where the masks of a view are: a file, and the frame of it if the file has frames.

    Args:
        pattern: Path with ``{name}``, or ``path#{frame}``, where the frame is the last number in
            the view's name.
        name: Name of the view.

    Raises:
        MaskError: The pattern has other fields, or the view's name has no number.
    """
    numbers = re.findall(r"\d+", name)
    try:
        text, mark, frame = pattern.format(
            name=name, frame=int(numbers[-1]) if numbers else ""
        ).rpartition("#")
        return (Path(text), int(frame)) if mark else (Path(frame), None)
    except (KeyError, IndexError, ValueError) as error:
        raise MaskError(
            f"masks.files {pattern!r} does not lead to a file of view {name!r}: its fields are "
            "{name} and, after a #, {frame}, for which the name must hold a number"
        ) from error


class OverSegmentationSource:
    """The classical stand-in, see ``over_segmentation``."""

    def masks(self, image: RgbImage, name: str) -> BoolArray:
        """Return the image's color regions."""
        return over_segment(image)


def open_source(settings: MaskSettings, root: Path, device: str) -> MaskSource:
    """Open the mask source that the settings name.

    Args:
        settings: Which source.
        root: Folder of the scene, for mask files.
        device: Where networks run.

    Raises:
        MaskError: Segment Anything's weights are missing or of another kind.
        SettingsError: The source makes no masks.
    """
    if settings.source == "sam":
        return SamSource(settings, device)
    if settings.source == "files":
        return FileSource(str(root / settings.files))
    if settings.source == "over_segmentation":
        return OverSegmentationSource()
    raise SettingsError(f"masks.source {settings.source!r} brings patches, not masks")


def reduce_image(image: RgbImage, max_side_px: int | None) -> RgbImage:
    """Reduce an image whose longer side exceeds a limit, by area.

    Args:
        image: (H, W, 3) uint8.
        max_side_px: Limit in pixels, None for none.
    """
    height, width = image.shape[:2]
    if max_side_px is None or max(height, width) <= max_side_px:
        return image
    factor = max_side_px / max(height, width)
    size_wh: Sequence[int] = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
