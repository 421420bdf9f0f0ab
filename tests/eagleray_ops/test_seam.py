"""Nothing shows where a panorama begins: it can be turned, and its classes turn with it."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.eagleray_ops.small_data import small_settings
from tests.eagleray_ops.small_network import random_rows, small_network

from eagleray_ops.data import network_image
from eagleray_ops.predict import predict_image
from eagleray_vision.metrics.panorama_iou import seam_columns
from eagleray_vision.samples.semantic import SemanticSample

HEIGHT, WIDTH, STEP = 32, 256, 32


def panorama(seed):
    """Return blobs of many sizes without a seam."""
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, 3))
    wrap = ("nearest", "wrap", "nearest")
    blobs = sum(s * ndimage.gaussian_filter(noise, (s, s, 0), mode=wrap) for s in (1, 2, 5))
    low, high = blobs.min((0, 1)), blobs.max((0, 1))
    return (255 * (blobs - low) / (high - low)).astype(np.uint8)


def settings_for(tmp_path, *, faithful):
    return small_settings(
        tmp_path,
        faithful=faithful,
        input={"short_edge_px": HEIGHT, "long_edge_px": WIDTH},
        inference={"window_px": 64, "stride_px": STEP, "windows_at_once": 8},
    )


@torch.no_grad()
def classes(photo, settings, network):
    sample = SemanticSample("panorama", network_image(photo, settings), photo=photo)
    return predict_image(sample, network, settings).classes


def turned_back(photo, columns, settings, network):
    return np.roll(classes(np.roll(photo, columns, 1), settings, network), -columns, 1)


@pytest.fixture(scope="module")
def ops():
    network, rows = small_network(faithful=False).eval(), random_rows(6)
    return lambda images: network.scores(images, rows)


@pytest.fixture(scope="module")
def border_blind():
    """A network that sees far and takes what is beyond its window for black, as all do."""
    torch.manual_seed(0)
    first = torch.nn.Conv2d(3, 12, 7, padding=9, dilation=3)
    second = torch.nn.Conv2d(12, 6, 7, padding=9, dilation=3)
    return lambda images: second(torch.relu(first(images)))


def test_a_turn_by_whole_window_steps_changes_nothing(ops, tmp_path):
    settings, original = (settings_for(tmp_path, faithful=f) for f in (False, True))
    ours, theirs = [], []
    for seed, columns in ((0, STEP), (1, 5 * STEP)):
        photo = panorama(seed)
        for rule, found in ((settings, ours), (original, theirs)):
            same = turned_back(photo, columns, rule, ops) == classes(photo, rule, ops)
            found.append(same.mean())
    assert min(ours) >= 0.999
    # beside: the original's windows stop at the seam
    assert np.mean(theirs) < np.mean(ours)


def test_a_turn_by_any_number_agrees_at_the_seam_as_well_as_elsewhere(border_blind, tmp_path):
    near = seam_columns(WIDTH)
    gaps = {}
    for faithful in (False, True):
        settings = settings_for(tmp_path, faithful=faithful)
        seam, elsewhere = [], []
        for seed in range(8):
            photo = panorama(seed)
            still = classes(photo, settings, border_blind)
            for columns in np.random.default_rng(seed).integers(1, WIDTH, 16):
                same = turned_back(photo, int(columns), settings, border_blind) == still
                seam.append(same[:, near].mean())
                elsewhere.append(same[:, ~near].mean())
        gaps[faithful] = 100 * (np.mean(elsewhere) - np.mean(seam))
    assert gaps[False] <= 0.5
    assert gaps[True] > gaps[False] + 1
