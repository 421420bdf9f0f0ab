"""Scores of views and windows become classes, at any size, around the seam, within memory."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eagleray.task import InputError
from eagleray_vision.inference.panorama import (
    SlidingRule,
    SlidingView,
    classes_of_rows,
    fuse_views,
    panorama_views,
    resize_photo,
    resize_scores,
    score_rows,
)

RULE = SlidingRule(16, 8, wrap=True)


def scores(height=17, width=30, classes=5):
    return torch.rand(classes, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(17, 30), (40, 71), (8, 11), (1, 1)])
@pytest.mark.parametrize("wrap", [False, True])
def test_classes_that_are_chosen_row_by_row_are_those_of_the_whole(size, wrap):
    whole = scores()
    wanted = resize_scores(whole, size, wrap=wrap).argmax(0).numpy()
    parts = [whole[:, :3], whole[:, 3:4], whole[:, 4:]]
    np.testing.assert_array_equal(classes_of_rows(parts, (17, 30), size, wrap=wrap), wanted)


def test_resizing_around_the_seam_commutes_with_turning():
    whole = scores()
    turned = resize_scores(torch.roll(whole, 10, -1), (17, 60), wrap=True)
    still = resize_scores(whole, (17, 60), wrap=True)
    torch.testing.assert_close(torch.roll(still, 20, -1), turned)
    plain = F.interpolate(whole[None], (17, 60), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(still[..., 1:-1], plain[..., 1:-1])
    assert (still[..., 0] - plain[..., 0]).abs().max() > 0.01


@pytest.mark.parametrize("size", [(10, 40), (13, 40), (15, 30), (5, 10), (3, 4), (7, 5)])
def test_a_photograph_is_resized_around_the_seam(size):
    photo = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    still = resize_photo(photo, size, wrap=True)
    for columns in (4, 8, 12):  # whole pixels in all sizes but one
        shift = columns * size[1] // 20
        if shift * 20 == columns * size[1]:
            turned = resize_photo(np.roll(photo, columns, 1), size, wrap=True)
            np.testing.assert_array_equal(np.roll(still, shift, 1), turned)
    plain = resize_photo(photo, size, wrap=False)
    inner = slice(2, -2) if size[1] > 20 else slice(0, None)
    np.testing.assert_array_equal(still[:, inner], plain[:, inner])


def test_columns_at_the_seam_lie_between_both_ends():
    photo = np.zeros((4, 20, 3), np.uint8)
    photo[:, 0] = 200
    resized = resize_photo(photo, (4, 40), wrap=True)
    assert resized[0, :, 0].tolist()[-1:] == [50] and resized[0, :2, 0].tolist() == [150, 150]
    assert resize_photo(photo, (4, 40), wrap=False)[0, 0, 0] == 200


def test_views_are_turned_back_and_averaged():
    torch.manual_seed(0)
    image = torch.rand(3, 16, 40)
    plain = SlidingView(image, (16, 40))

    def predict(parts):
        return parts * 2

    once = torch.cat(list(score_rows([plain], (16, 40), RULE, predict)), 1)
    torch.testing.assert_close(once, image * 2)
    turned = SlidingView(torch.roll(image, 7, -1), (16, 40), shift=7)
    mirrored = SlidingView(torch.roll(image, 5, -1).flip(-1), (16, 40), shift=5, is_mirrored=True)
    larger = SlidingView(resize_scores(image, (32, 80), wrap=True), (32, 80))
    for view in (turned, mirrored):
        found = torch.cat(list(score_rows([plain, view], (16, 40), RULE, predict)), 1)
        torch.testing.assert_close(found, image * 2)
    found = torch.cat(list(score_rows([larger], (16, 40), RULE, predict)), 1)
    assert (found - image * 2).abs().mean() < 0.3


def test_padding_is_cut_off():
    image = F.pad(torch.ones(3, 10, 40), (0, 0, 0, 6), value=-1)
    view = SlidingView(image, (10, 40))
    found = torch.cat(list(score_rows([view], (10, 40), RULE, lambda parts: parts)), 1)
    assert found.shape == (3, 10, 40) and (found == 1).all()


def test_scores_beyond_the_memory_are_refused_with_what_to_do():
    small = SlidingRule(16, 8, wrap=True, memory_gb=1e-5)
    view = SlidingView(torch.rand(3, 64, 64), (64, 64))
    # one row of windows fits, two whole maps of scores do not
    rows = score_rows([view], (64, 64), SlidingRule(16, 8, True, memory_gb=2e-5), lambda p: p)
    assert sum(part.shape[1] for part in rows) == 64
    with pytest.raises(InputError, match=r"memory_gb .* raise it"):
        list(score_rows([view, view], (64, 64), small, lambda p: p))
    with pytest.raises(InputError, match="memory_gb"):
        list(score_rows([view], (64, 64), small, lambda p: p.repeat(1, 9, 1, 1)))


@pytest.mark.parametrize(("fov", "overlap", "reach"), [(90, 0.25, 90), (90, 0, 35), (60, 0.3, 90)])
def test_views_cover_a_panorama_and_their_fusion_is_their_mean(fov, overlap, reach):
    views = panorama_views(fov, overlap, reach)
    rows = slice(round(32 - 64 * reach / 180), round(32 + 64 * reach / 180))
    ones = [torch.ones(2, 24, 24)] * len(views)
    fused = fuse_views(ones, views, (64, 128), rows)
    torch.testing.assert_close(fused, torch.ones_like(fused))


def test_no_view_is_refused():
    with pytest.raises(InputError, match="no view"):
        fuse_views([], [], (4, 8))
