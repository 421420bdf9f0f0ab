"""Patches and correlation against a slow version that works on pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eagleray_omniseg3d.errors import MaskError
from eagleray_omniseg3d.masks.hierarchy import (
    build_hierarchy,
    distinct_columns,
    read_npz,
    write_npz,
)
from eagleray_omniseg3d.masks.hierarchy_picture import paint_masks, paint_patches


def slow_hierarchy(masks, overlap):
    masks = masks[np.argsort(masks.sum((1, 2)), kind="stable")].copy()
    for m in range(len(masks)):
        area = masks[m].sum()
        hits = [n for n in range(m + 1, len(masks)) if (masks[m] & masks[n]).sum() > overlap * area]
        for n in hits:
            masks[n] |= masks[m]
    columns, inverse = np.unique(masks.reshape(len(masks), -1), axis=1, return_inverse=True)
    columns = columns.astype(np.int64)
    return inverse.reshape(masks.shape[1:]), columns.T @ columns


def random_masks(seed, count, size):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *size), bool)
    for mask in masks:
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        bottom, right = rng.integers(top, size[0]) + 1, rng.integers(left, size[1]) + 1
        mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.95
    return masks


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_patches_equal_the_slow_version(seed, count, overlap):
    masks = random_masks(seed, count, (13, 17))
    found = build_hierarchy(masks, absorb_overlap=overlap)
    indices, correlation = slow_hierarchy(masks, overlap)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.correlation, correlation)


def test_columns_rank_like_numpy_unique_beyond_one_chunk_of_rows():
    table = np.random.default_rng(0).random((130, 500)) < 0.02
    rank, columns = distinct_columns(table)
    expected, inverse = np.unique(table, axis=1, return_inverse=True)
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_array_equal(rank, inverse)


def test_no_masks_leave_one_empty_patch():
    found = build_hierarchy(np.zeros((0, 4, 5), bool))
    assert found.num_masks == 0 and found.num_patches == 1
    assert not found.indices.any() and found.correlation.tolist() == [[0]]


def test_mended_form_keeps_id_zero_for_the_background():
    masks = np.array([[[True, False]], [[False, True]]])
    faithful, mended = build_hierarchy(masks), build_hierarchy(masks, faithful=False)
    assert sorted(np.unique(faithful.indices)) == [0, 1]
    assert sorted(np.unique(mended.indices)) == [1, 2]
    assert mended.correlation[0].tolist() == [0, 0, 0]


def test_more_than_255_masks_wrap_or_stop():
    masks = np.ones((300, 1, 2), bool)
    masks[:, 0, 1] = False
    assert build_hierarchy(masks).correlation.max() == 300 - 256
    assert build_hierarchy(masks, faithful=False).correlation.max() == 255


def test_more_patches_than_int16_holds():
    side = 182
    number = np.arange(side * side).reshape(side, side)
    masks = np.stack([(number >> bit) & 1 == 1 for bit in range(16)])
    with pytest.raises(MaskError, match="faithful: false"):
        build_hierarchy(masks, absorb_overlap=1.0)


@pytest.mark.parametrize("masks", [np.zeros((2, 3), bool), np.zeros((1, 2, 3), np.uint8)])
def test_wrong_masks_are_refused(masks):
    with pytest.raises(MaskError, match="bool"):
        build_hierarchy(masks)


def test_file_round_trip_has_the_originals_fields():
    found = build_hierarchy(random_masks(1, 9, (8, 9)))
    content = write_npz(found)
    again = read_npz(content, "a.npz")
    np.testing.assert_array_equal(again.indices, found.indices)
    np.testing.assert_array_equal(again.correlation, found.correlation)
    assert content == write_npz(found)


def test_damaged_and_contradictory_files_are_named():
    content = write_npz(build_hierarchy(random_masks(1, 9, (8, 9))))
    with pytest.raises(MaskError, match=r"b\.npz"):
        read_npz(content[: len(content) // 2], "b.npz")
    with pytest.raises(MaskError, match=r"c\.npz"):
        read_npz(b"", "c.npz")


def test_pictures_cover_small_masks_last_by_large_ones():
    image = np.full((4, 4, 3), 200, np.uint8)
    masks = np.zeros((2, 4, 4), bool)
    masks[0], masks[1, 0, 0] = True, True
    painted = paint_masks(image, masks, "x")
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 1
    patches = paint_patches(image, build_hierarchy(masks).indices, "x")
    np.testing.assert_array_equal(
        patches, paint_patches(image, build_hierarchy(masks).indices, "x")
    )
    assert (paint_patches(image, np.zeros((4, 4), int), "x") == 50).all()
