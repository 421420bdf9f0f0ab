"""Mean IoU where it differs on a panorama: by latitude, by area on the sphere, and at the seam.

Towards the poles an equirectangular picture shows ever less of the sphere with ever more pixels.
So next to the usual mean IoU stand that of bands of latitude, and one whose pixels count with the
cosine of their latitude, which is their area. The seam is where column 0 and the last column meet:
a tenth of the width on either side is scored apart.

Pixels are taken to be square in angle and the horizon to lie in the middle, so an annular panorama
of 400 x 2048 pixels reaches 35 degrees up and down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from eagleray_vision.metrics.errors import NoClassError
from eagleray_vision.metrics.mean_iou import (
    MeanIou,
    compute_mean_iou,
    confusion_matrix,
    mean_accuracy,
)

BAND_DEG = 30
"""Height of a band of latitude."""
SEAM_SHARE = 0.1
"""Share of the columns on either side of the seam that is scored apart."""

_BANDS = tuple(range(90 - BAND_DEG, -91, -BAND_DEG))
"""Lower latitudes of the bands, from the zenith down."""
_HALF_TURN_DEG = 180.0


@dataclass(frozen=True)
class PanoramaStatistics:
    """Confusion matrices of one panorama, ``(C, C + 1)`` each, as in `mean_iou`.

    Attributes:
        bands: ``(6, C, C + 1)`` int64 by latitude, zenith first; their sum is the whole picture.
        seam: int64, both borders.
        area: float64, pixels counted with the cosine of their latitude.
    """

    bands: npt.NDArray[np.int64]
    seam: npt.NDArray[np.int64]
    area: npt.NDArray[np.float64]

    def __add__(self, other: Self) -> Self:
        """Return the statistics of both sets of panoramas together."""
        return type(self)(self.bands + other.bands, self.seam + other.seam, self.area + other.area)

    def to_row(self) -> dict[str, Any]:
        """Return the columns of a scored panorama."""
        return {
            "band_confusion": self.bands.ravel().tolist(),
            "seam_confusion": self.seam.ravel().tolist(),
            "area_confusion": self.area.ravel().tolist(),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], num_classes: int) -> Self:
        """Read what `to_row` wrote."""
        shape = (num_classes, num_classes + 1)
        return cls(
            np.asarray(row["band_confusion"], np.int64).reshape(len(_BANDS), *shape),
            np.asarray(row["seam_confusion"], np.int64).reshape(shape),
            np.asarray(row["area_confusion"], np.float64).reshape(shape),
        )


ROW_SCHEMA = {
    "band_confusion": "list<int64>",
    "seam_confusion": "list<int64>",
    "area_confusion": "list<float64>",
}
"""Columns of a scored panorama."""


@dataclass(frozen=True)
class PanoramaIou:
    """Semantic quality over a set of panoramas; what has no labeled pixel is None.

    Attributes:
        total: The usual mean IoU.
        mean_accuracy: The usual mean accuracy.
        area: With pixels counted by their area on the sphere.
        seam: Of a tenth of the columns on either side of the seam.
        elsewhere: Of the other columns.
        bands: By the lower and upper latitude of each band, in degrees.
    """

    total: MeanIou
    mean_accuracy: float
    area: MeanIou
    seam: MeanIou | None
    elsewhere: MeanIou | None
    bands: Mapping[tuple[int, int], MeanIou]


def panorama_statistics(
    truth: npt.NDArray[np.integer[Any]],
    predicted: npt.NDArray[np.integer[Any]],
    num_classes: int,
    void_class: int = 255,
) -> PanoramaStatistics:
    """Count the pixels of each true and predicted class, by where they are.

    Args:
        truth: ``(H, W)`` classes or ``void_class``.
        predicted: Same shape and values.
        num_classes: C.
        void_class: Value of unlabeled and unanswered pixels.

    Raises:
        LabelSizeError: The shapes differ.
        LabelRangeError: A value is neither a class nor void.
    """
    latitudes = row_latitudes(truth.shape[0], truth.shape[1])
    # one matrix per row would be large; rows of one band have one, and rows of one weight share it
    bands = np.zeros((len(_BANDS), num_classes, num_classes + 1), np.int64)
    area = np.zeros((num_classes, num_classes + 1))
    band_of_row = band_of(latitudes)
    for row, latitude in enumerate(latitudes):
        counts = confusion_matrix(truth[row], predicted[row], num_classes, void_class)
        bands[band_of_row[row]] += counts
        area += np.cos(latitude) * counts
    near = seam_columns(truth.shape[1])
    seam = confusion_matrix(truth[:, near], predicted[:, near], num_classes, void_class)
    return PanoramaStatistics(bands, seam, area)


def compute_panorama_iou(statistics: Iterable[PanoramaStatistics]) -> PanoramaIou:
    """Turn the statistics of a set of panoramas into its mean IoUs.

    Raises:
        NoClassError: No labeled pixel at all.
    """
    total: PanoramaStatistics | None = None
    for one in statistics:
        total = one if total is None else total + one
    if total is None:
        raise NoClassError("mean IoU: no panorama was evaluated; check data set and split")
    whole = total.bands.sum(axis=0)
    named = {(low, low + BAND_DEG): band for low, band in zip(_BANDS, total.bands, strict=True)}
    return PanoramaIou(
        total=compute_mean_iou([whole]),
        mean_accuracy=mean_accuracy(whole),
        area=_weighted(total.area),
        seam=_defined(total.seam),
        elsewhere=_defined(whole - total.seam),
        bands={name: iou for name, band in named.items() if (iou := _defined(band))},
    )


def row_latitudes(height: int, width: int) -> npt.NDArray[np.float64]:
    """Return the latitude of every row's center in radians, the first one the highest.

    Example:
        >>> np.rad2deg(row_latitudes(2, 4)).tolist()
        [45.0, -45.0]
    """
    reach = np.pi * min(2 * height / width, 1.0)
    return (0.5 - (np.arange(height) + 0.5) / height) * reach


def band_of(latitudes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the band of each latitude, 0 at the zenith."""
    from_zenith = _HALF_TURN_DEG / 2 - np.rad2deg(latitudes)
    return np.clip(from_zenith // BAND_DEG, 0, len(_BANDS) - 1).astype(np.int64)


def seam_columns(width: int) -> npt.NDArray[np.bool_]:
    """Return which columns belong to the seam, ``(W,)``."""
    near = max(1, round(SEAM_SHARE * width))
    columns = np.arange(width)
    return (columns < near) | (columns >= width - near)


def _defined(confusion: npt.NDArray[np.int64]) -> MeanIou | None:
    return compute_mean_iou([confusion]) if confusion.any() else None


def _weighted(confusion: npt.NDArray[np.float64]) -> MeanIou:
    """Return the IoU of weighted pixels, which are no integers."""
    right = np.diagonal(confusion)
    union = confusion.sum(axis=1) + confusion[:, : len(confusion)].sum(axis=0) - right
    per_class = np.full(len(confusion), np.nan)
    np.divide(right, union, out=per_class, where=union > 0)
    present = union > 0
    accuracy = float(right.sum() / confusion.sum())
    return MeanIou(float(per_class[present].mean()), per_class, accuracy, int(present.sum()))
