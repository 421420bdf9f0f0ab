"""Colors of training images against the original's numbers."""

import json

import numpy as np
import pytest
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401

from eagleray_ops.photometric import distort_colors
from eagleray_vision.images.color_distortion import ColorDraw

CASES = {"ids": lambda path: path.stem}
RANGES = {(-32, 32): "brightness", (0.5, 1.5): "factor", (-18, 18): "hue"}


def as_draw(calls):
    """Read the calls of a generator: flags, each followed by a value where it is 1."""
    values = iter([value for _, _, value in calls])
    kinds = [tuple(arguments) for _, arguments, _ in calls]
    assert all(kind == (2,) or kind in RANGES for kind in kinds)

    def step():
        return next(values) if next(values) else None

    brightness = step()
    contrast_first = next(values) == 1
    contrast = step() if contrast_first else None
    saturation, hue = step(), step()
    if not contrast_first:
        contrast = step()
    assert next(values, None) is None
    turned = None if hue is None else 2.0 * hue  # OpenCV counts 180 steps to a turn
    return ColorDraw(brightness, contrast, contrast_first, saturation, turned)


@pytest.mark.parametrize("path", cases("ops", "photometric"), **CASES)
def test_colors(path):
    case = EveryKey(path, __name__)
    number = 0
    while f"image{number}_bgr" in case:
        draw = as_draw(json.loads(str(case[f"draws{number}"])))
        rgb = np.ascontiguousarray(case[f"image{number}_bgr"][..., ::-1])
        found = distort_colors(rgb, draw)[..., ::-1]
        assert np.array_equal(found, case[f"output{number}_bgr"]), number
        number += 1
    assert number
