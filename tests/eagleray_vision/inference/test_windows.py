"""Windows cover an image, with and without going around it, and their average is given in rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eagleray.task import SettingsError
from eagleray_vision.inference.windows import slide, sliding_windows

SIDES = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(1, 16), st.integers(1, 16), st.booleans())
def test_every_pixel_is_in_a_window_and_rows_come_once(height, width, window, stride, wrap):
    stride = min(stride, window)
    windows = sliding_windows((height, width), window, stride, wrap=wrap)
    image = (
        torch.arange(height * width, dtype=torch.float32).reshape(1, height, width).repeat(3, 1, 1)
    )
    rows = list(slide(image, windows, lambda parts: parts[:, :2] + 1, batch=3))
    assert all(part.shape[1] > 0 for part in rows)
    torch.testing.assert_close(torch.cat(rows, dim=1), image[:2] + 1, rtol=1e-6, atol=0)
    assert all(one.height <= window and one.width <= window for one in windows)


def test_around_a_panorama_no_column_is_a_border():
    for width in (2560, 1000, 641, 640, 100):
        windows = sliding_windows((512, width), 640, 320, wrap=True)
        distance = torch.zeros(width)
        for one in windows:
            columns = (one.left + torch.arange(one.width)) % width
            inside = torch.minimum(torch.arange(one.width), torch.arange(one.width).flip(0))
            distance[columns] = torch.maximum(distance[columns], inside.float())
        assert distance.min() >= min(width, 640) // 4 - 1
    assert len(sliding_windows((512, 2560), 640, 320, wrap=True)) == 8


def test_going_around_commutes_with_turning_by_whole_steps():
    torch.manual_seed(0)
    image = torch.rand(3, 12, 40)

    def predict(parts):  # depends on the place in the window, as a network does
        place = torch.linspace(0, 1, parts.shape[-1])
        return torch.cumsum(parts, -1) * place

    windows = sliding_windows((12, 40), 16, 8, wrap=True)
    still = torch.cat(list(slide(image, windows, predict)), 1)
    turned = torch.cat(list(slide(torch.roll(image, 24, -1), windows, predict)), 1)
    torch.testing.assert_close(torch.roll(turned, -24, -1), still)


def test_a_stride_beyond_the_window_is_refused():
    for stride in (0, 9):
        with pytest.raises(SettingsError, match="leave pixels out"):
            sliding_windows((10, 10), 8, stride)
