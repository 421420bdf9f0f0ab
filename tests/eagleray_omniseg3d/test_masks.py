"""Mask sources; Segment Anything's own generator is the oracle for ours (small random network)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments.benchmarks.small_sam import local_sam, random_sam
from hypothesis import given, settings
from hypothesis import strategies as st

from eagleray_omniseg3d.errors import MaskError
from eagleray_omniseg3d.masks import over_segmentation
from eagleray_omniseg3d.masks.hierarchy import build_hierarchy
from eagleray_omniseg3d.masks.over_segmentation import over_segment
from eagleray_omniseg3d.masks.run_lengths import (
    compressed_runs,
    decode_masks,
    encode_masks,
    read_mask_file,
    read_sav_frame,
)
from eagleray_omniseg3d.masks.sam import SamMaskGenerator, SamMaskSettings, load_sam
from eagleray_omniseg3d.masks.small_regions import clean_mask
from eagleray_omniseg3d.masks.source import FileSource, mask_place, open_source, reduce_image
from eagleray_omniseg3d.settings import MaskSettings


def random_mask(seed, size=(30, 37)):
    rng = np.random.default_rng(seed)
    import cv2

    noise = cv2.GaussianBlur(rng.normal(size=size), (0, 0), rng.uniform(0.5, 3))
    mask = noise > rng.uniform(-1, 1) * noise.std()
    top, left = rng.integers(0, 8, 2)
    mask[:top], mask[:, :left] = False, False
    bottom, right = rng.integers(1, 8, 2)
    mask[-bottom:] &= bool(rng.integers(0, 2))
    mask[:, -right:] &= bool(rng.integers(0, 2))
    return mask


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max(), rows.max()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 20, 128, 400]))
def test_cleaning_in_the_box_equals_cleaning_the_image(seed, min_area):
    from segment_anything.utils.amg import remove_small_regions

    mask = random_mask(seed)
    if not mask.any():
        return
    expected, holes = remove_small_regions(mask, min_area, mode="holes")
    expected, islands = remove_small_regions(expected, min_area, mode="islands")
    before = mask.copy()
    found, changed = clean_mask(mask, box_of(mask), min_area)
    np.testing.assert_array_equal(found, expected)
    assert changed == (holes or islands)
    np.testing.assert_array_equal(mask, before)


@pytest.fixture(scope="module")
def networks():
    return {"random": random_sam(), "local": local_sam()}


def stock_masks(network, thresholds, image):
    from segment_anything import SamAutomaticMaskGenerator

    values = {name: getattr(thresholds, name) for name in SamMaskSettings.__dataclass_fields__}
    records = SamAutomaticMaskGenerator(network, **values).generate(image)
    return np.array([r["segmentation"] for r in records]).reshape(-1, *image.shape[:2])


@pytest.mark.parametrize("crop_layers", [0, 1])
@pytest.mark.parametrize("min_area", [0, 60])
@pytest.mark.parametrize("kind", ["random", "local"])
def test_masks_equal_those_of_the_stock_generator(networks, kind, crop_layers, min_area):
    network = networks[kind]
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    # Masks of the random network all span the image, so only overlaps above 1 would keep several.
    overlap = {"random": 1.0, "local": 0.7}[kind]
    thresholds = SamMaskSettings(
        points_per_side=6,
        points_per_batch=16,
        pred_iou_thresh={"random": -5.0, "local": 0.85}[kind],
        stability_score_thresh={"random": 0.01, "local": 0.6}[kind],
        stability_score_offset={"random": 0.05, "local": 0.5}[kind],
        crop_n_layers=crop_layers,
        min_mask_region_area=min_area,
        box_nms_thresh=overlap,
        crop_nms_thresh=overlap,
    )
    expected = stock_masks(network, thresholds, image)
    found = SamMaskGenerator(network, thresholds).generate(image)
    assert len(expected) > 3
    np.testing.assert_array_equal(found, expected)


def test_no_mask_survives_impossible_thresholds(networks):
    image = np.zeros((64, 64, 3), np.uint8)
    thresholds = SamMaskSettings(points_per_side=2, pred_iou_thresh=100.0)
    assert SamMaskGenerator(networks["random"], thresholds).generate(image).shape == (0, 64, 64)


def test_missing_and_foreign_weights(tmp_path):
    with pytest.raises(MaskError, match="no file"):
        load_sam(tmp_path / "sam.pth", "vit_b", "cpu")
    torch.save({"a": torch.zeros(1)}, tmp_path / "sam.pth")
    with pytest.raises(MaskError, match="no weights of vit_b"):
        load_sam(tmp_path / "sam.pth", "vit_b", "cpu")


def test_run_lengths_round_trip_compressed_and_plain(tmp_path):
    masks = np.stack([random_mask(i) for i in range(4)])
    codes = encode_masks(masks)
    np.testing.assert_array_equal(decode_masks(codes, "x"), masks)
    plain = []
    for mask in masks:
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *edges, flat.size]).tolist()
        plain.append({"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts})
    np.testing.assert_array_equal(decode_masks(plain, "x"), masks)
    layouts = (
        codes,
        [{"segmentation": c} for c in codes],
        {"annotations": plain},
        {"masks": codes},
    )
    for layout in layouts:
        wrapped = layout
        if isinstance(layout, dict):
            key = next(iter(layout))
            wrapped = {key: [{"segmentation": c} for c in layout[key]]}
        (tmp_path / "a.json").write_text(json.dumps(wrapped))
        np.testing.assert_array_equal(read_mask_file(tmp_path / "a.json", masks.shape[1:]), masks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSON"),
        ('{"other": 1}', "neither"),
        ('[{"segmentation": [[1, 2, 3]]}]', "no run length"),
        ('[{"size": [5, 5], "counts": [9]}]', "cannot be decoded"),
        ('[{"size": [2, 2], "counts": [4]}, {"size": [3, 2], "counts": [6]}]', "one size"),
        ('[{"size": [2, 2], "counts": [4]}]', "for an image of"),
    ],
)
def test_mask_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(MaskError, match=message):
        read_mask_file(path, (5, 5))


def test_view_without_masks_and_missing_file(tmp_path):
    (tmp_path / "v.json").write_text("[]")
    image = np.zeros((5, 6, 3), np.uint8)
    source = FileSource(str(tmp_path / "{name}.json"))
    assert source.masks(image, "v").shape == (0, 5, 6)
    with pytest.raises(MaskError, match=r"w\.json"):
        source.masks(image, "w")


def test_mask_places_by_view_name():
    assert mask_place("m/{name}.json", "a/0012") == (Path("m/a/0012.json"), None)
    assert mask_place("m/video.json#{frame}", "cam2/frame_0012") == (Path("m/video.json"), 12)
    for pattern, name in (("{nam}.json", "a"), ("v.json#{frame}", "a"), ("v.json#x", "a1")):
        with pytest.raises(MaskError, match="does not lead to a file"):
            mask_place(pattern, name)


def test_frames_of_a_video_file_are_masks_of_views(tmp_path):
    masks = np.stack([random_mask(i) for i in range(3)])
    empty = np.zeros_like(masks[:1])
    frames = [encode_masks(masks), encode_masks(np.concatenate([empty, masks[:1]]))]
    (tmp_path / "video.json").write_text(json.dumps({"masklet": frames}))
    source = FileSource(str(tmp_path / "video.json#{frame}"))
    image = np.zeros((*masks.shape[1:], 3), np.uint8)
    np.testing.assert_array_equal(source.masks(image, "v0000"), masks)
    np.testing.assert_array_equal(source.masks(image, "v0001"), masks[:1])
    with pytest.raises(MaskError, match="frame 2"):
        source.masks(image, "v0002")
    with pytest.raises(MaskError, match="for an image of"):
        source.masks(image[1:], "v0000")


def test_over_segmentation_finds_flat_things():
    image = np.full((64, 96, 3), 40, np.uint8)
    image[8:56, 8:40] = (200, 40, 40)
    image[20:40, 12:30] = (200, 90, 60)
    image[10:50, 55:90] = (30, 60, 220)
    ids = np.zeros((64, 96), int)
    ids[8:56, 8:40], ids[20:40, 12:30], ids[10:50, 55:90] = 1, 2, 3
    masks = over_segment(image)
    for wanted in (ids == 0, ids == 1, ids == 2, ids == 3):
        assert max((m & wanted).sum() / (m | wanted).sum() for m in masks) > 0.85
    assert over_segment(np.zeros((20, 20, 3), np.uint8)).shape == (0, 20, 20)


def noisy_checkers(seed):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    image = cells.repeat(16, axis=0).repeat(16, axis=1).astype(np.int64)
    return np.clip(image + rng.integers(-9, 10, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(2))
def test_over_segmentation_trees_nest_and_cover(seed, monkeypatch):
    monkeypatch.setattr(over_segmentation, "_COLOR_EXPONENTS", (0.2,))
    masks = over_segment(noisy_checkers(seed)).reshape(-1, 9 * 12 * 256).astype(np.int64)
    shared, areas = masks @ masks.T, masks.sum(axis=1)
    smaller = np.minimum(areas[:, None], areas[None])
    assert ((shared == 0) | (shared == smaller)).all()
    assert (masks.sum(axis=0) >= 4).mean() > 0.9


def test_over_segmentation_merges_weak_boundaries_first():
    shades = np.array([0, 12, 120, 135], np.uint8)
    image = shades.repeat(40)[None, :, None].repeat(80, axis=0).repeat(3, axis=2)
    masks = over_segment(image)
    left = np.zeros((80, 160), bool)
    left[:, :80] = True
    assert max((m & left).sum() / (m | left).sum() for m in masks) > 0.9
    wrong = np.roll(left, 40, axis=1)
    assert max((m & wrong).sum() / (m | wrong).sum() for m in masks) < 0.8


def test_large_images_are_reduced():
    assert reduce_image(np.zeros((30, 60, 3), np.uint8), 20).shape == (10, 20, 3)
    assert reduce_image(np.zeros((30, 60, 3), np.uint8), None).shape == (30, 60, 3)


def test_source_by_settings(tmp_path):
    assert isinstance(open_source(MaskSettings(source="files"), tmp_path, "cpu"), FileSource)
    with pytest.raises(MaskError, match="checkpoint"):
        open_source(MaskSettings(source="sam"), tmp_path, "cpu")


@pytest.mark.skipif("EAGLERAY_DATA" not in os.environ, reason="EAGLERAY_DATA is not set")
def test_real_masklets_become_patches():
    path = Path(os.environ["EAGLERAY_DATA"]) / "sam_masks_sav" / "sav_000001_auto.json"
    masks = read_sav_frame(path, 10)
    assert masks.shape[1:] == (848, 480) and 2 <= len(masks) <= 9
    hierarchy = build_hierarchy(masks)
    covered = masks.any(axis=0)
    assert (hierarchy.indices[~covered] == 0).all()
    assert (np.diag(hierarchy.correlation)[1:] > 0).all()
    with pytest.raises(MaskError, match="frame 9999"):
        read_sav_frame(path, 9999)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_compressed_runs_are_those_that_were_written(seed):
    mask = random_mask(seed, size=(61, 340))
    (code,) = encode_masks(mask[None])
    column_major = mask.ravel(order="F").astype(np.int8)
    borders = np.flatnonzero(np.diff(column_major, prepend=0)).tolist()
    wanted = np.diff([0, *borders, mask.size])
    np.testing.assert_array_equal(compressed_runs(code["counts"].encode()), wanted)


def test_compressed_run_lengths_that_end_early_are_refused():
    (code,) = encode_masks(random_mask(1)[None])
    counts = code["counts"]
    damaged = [counts[:-1], counts[:-3], counts[: len(counts) // 2], "", counts + "5", "\x7f5", "0"]
    for broken in damaged:
        with pytest.raises(MaskError, match="mask 0 cannot be decoded"):
            decode_masks([{**code, "counts": broken}], "a.json")
    assert decode_masks([code], "a.json").shape == (1, 30, 37)


@pytest.mark.parametrize(
    "code",
    [
        {"size": [5, 5], "counts": [-5, 30]},
        {"size": [5, 5], "counts": [12.5, 12.5]},
        {"size": [5, 5], "counts": 10**12},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [True, 25], "counts": [25]},
        {"size": "55", "counts": [25]},
    ],
)
def test_run_lengths_of_other_types_or_impossible_sizes_are_refused(code):
    with pytest.raises(MaskError):
        decode_masks([code], "view")
