"""IoU by latitude, area and seam against counts that are made pixel by pixel."""

import numpy as np
import pytest

from eagleray_vision.metrics.errors import NoClassError
from eagleray_vision.metrics.mean_iou import compute_mean_iou, confusion_matrix
from eagleray_vision.metrics.panorama_iou import (
    PanoramaStatistics,
    compute_panorama_iou,
    panorama_statistics,
    row_latitudes,
    seam_columns,
)

C = 3


def maps(height, width, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 255], (height, width))
    predicted = np.where(
        rng.random((height, width)) < 0.6, np.minimum(truth, 2), rng.integers(0, C)
    )
    return truth, predicted


def iou(truth, predicted, weight):
    """Count a weighted IoU the slow way."""
    found = []
    for c in range(C):
        known = truth != 255
        both = weight[known & (truth == c) & (predicted == c)].sum()
        either = weight[known & ((truth == c) | (predicted == c))].sum()
        if either:
            found.append(both / either)
    return np.mean(found)


def test_against_a_count_by_pixels():
    pairs = [maps(36, 72, seed) for seed in (1, 2)]
    found = compute_panorama_iou(
        PanoramaStatistics.from_row(panorama_statistics(*pair, C).to_row(), C) for pair in pairs
    )
    truth, predicted = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    ones = np.ones(truth.shape)
    latitude = np.tile(row_latitudes(36, 72), 2)[:, None] * ones
    assert found.total.mean == pytest.approx(iou(truth, predicted, ones))
    assert found.area.mean == pytest.approx(iou(truth, predicted, np.cos(latitude)))
    columns = np.arange(72)
    near = ((columns < 7) | (columns >= 65))[None] * ones
    assert found.seam.mean == pytest.approx(iou(truth, predicted, near))
    assert found.elsewhere.mean == pytest.approx(iou(truth, predicted, 1 - near))
    assert list(found.bands) == [(low, low + 30) for low in (60, 30, 0, -30, -60, -90)]
    for (low, high), band in found.bands.items():
        degrees = np.rad2deg(latitude)
        inside = ((degrees > low) & (degrees < high)).astype(float)
        assert band.mean == pytest.approx(iou(truth, predicted, inside))


def test_the_bands_together_are_the_usual_mean_iou():
    truth, predicted = maps(20, 40)
    found = compute_panorama_iou([panorama_statistics(truth, predicted, C)])
    usual = compute_mean_iou([confusion_matrix(truth, predicted, C)])
    assert found.total.mean == usual.mean
    np.testing.assert_array_equal(found.total.per_class, usual.per_class)


def test_an_annular_panorama_reaches_as_far_as_its_height_says():
    assert np.rad2deg(row_latitudes(400, 2048)[0]) == pytest.approx(35.1, abs=0.1)
    assert np.rad2deg(row_latitudes(512, 1024)[0]) == pytest.approx(90, abs=0.2)
    assert np.rad2deg(row_latitudes(512, 512)[0]) < 90
    truth = np.zeros((40, 205), int)
    found = compute_panorama_iou([panorama_statistics(truth, truth, C)])
    assert set(found.bands) == {(30, 60), (0, 30), (-30, 0), (-60, -30)}


def test_the_seam_is_a_tenth_on_either_side():
    assert seam_columns(100).sum() == 20 and seam_columns(3).tolist() == [True, False, True]


def test_without_a_labeled_pixel_there_is_no_mean():
    void = np.full((4, 8), 255)
    with pytest.raises(NoClassError):
        compute_panorama_iou([panorama_statistics(void, np.zeros((4, 8), int), C)])
    with pytest.raises(NoClassError):
        compute_panorama_iou([])
