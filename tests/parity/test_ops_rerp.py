"""RERP and the sizes of images against the original's: labels and colors exactly."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401 (a fixture)

from eagleray_ops.rerp import RerpDraw, permuted_quadrants, rerp_projection
from eagleray_vision.images.resizing import shortest_edge_size

SHORT_PX, LONG_PX = 640, 2560
"""Sizes of the file of resized images, as its description states them."""


@pytest.mark.parametrize("path", cases("ops", "rerp"), ids=lambda p: p.stem)
def test_rerp(path: Path) -> None:
    case = EveryKey(path, __name__)
    crop_px = case["label"].shape[0]
    order = tuple(int(one) for one in case["order"])
    shuffled = order if min(order) >= 0 else None
    projection = rerp_projection(crop_px, RerpDraw(0, 0, shuffled), faithful=True)

    def moved(picture: np.ndarray) -> np.ndarray:
        return picture if shuffled is None else permuted_quadrants(picture, shuffled)

    labels = moved(case["label"])
    found = projection.labels(labels)
    np.testing.assert_array_equal(found, case["erp_label"])
    if "valid_fraction" in case:
        assert np.mean(found != 255) == pytest.approx(float(case["valid_fraction"]), abs=1e-12)
    if "image" in case:
        image = moved(case["image"])
        np.testing.assert_array_equal(labels, case["shuffled_label"])
        np.testing.assert_array_equal(image, case["shuffled_image"])
        before = projection.colors(image).astype(np.float32)
        np.testing.assert_array_equal(before, case["erp_image_before_cast"])
        np.testing.assert_array_equal(projection.image(image), case["erp_image"])


@pytest.mark.parametrize("path", cases("ops", "resize_shortest_edge"), ids=lambda p: p.stem)
def test_sizes_of_resized_images(path: Path) -> None:
    found = json.loads(path.read_text())
    assert found
    for one in found:
        assert list(shortest_edge_size(tuple(one["in_hw"]), SHORT_PX, LONG_PX)) == one["out_hw"]
