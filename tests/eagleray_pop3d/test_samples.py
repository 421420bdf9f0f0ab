"""Reading key frames: sizes, padding, draws, labels of several sweeps, batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from eagleray.task import InputError
from eagleray_pop3d.augmentation import distort_colors, draw_colors
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.samples import (
    FrameSample,
    ImageSettings,
    TargetSettings,
    join_frames,
    read_frame,
    training_occupancy,
)
from eagleray_pop3d.voxels import observed_labels
from eagleray_vision.codecs import Codes
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.pose import SensorPose
from eagleray_vision.images.color_distortion import ColorDraw

GRID = GridSettings(size_hwz=(8, 8, 2), range_min_m=(-4, -4, -1), range_max_m=(4, 4, 1))
STILL = SensorPose((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
AHEAD = SensorPose((1.0, 0.0, 0.0, 0.0), (2.0, 0.0, 0.0))
PLAIN = ImageSettings(distort=False, grid_mask=False)
SIZES = {"left": (45, 70), "right": (33, 64)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, (height, width) in SIZES.items():
        rows = np.arange(height * width * 3, dtype=np.uint32) % 251
        pixels = rows.astype(np.uint8).reshape(height, width, 3)
        Pillow.fromarray(pixels).save(tmp_path / f"{name}.png")
    for name, x in (("now", 0.5), ("before", -1.5)):
        points = np.array([[x, 0.5, 0.5, 0, 0], [9.0, 0.5, 0.5, 0, 0]], dtype=np.float32)
        points.tofile(tmp_path / f"{name}.bin")
    return tmp_path


@pytest.fixture
def frame() -> KeyFrame:
    cameras = tuple(
        CameraTime(
            f"{name}.png",
            0,
            STILL,
            STILL,
            name=name,
            intrinsic=(10.0, 0.0, 5.0, 0.0, 10.0, 5.0, 0.0, 0.0, 1.0),
            size_hw=size,
        )
        for name, size in SIZES.items()
    )
    return KeyFrame(
        token="t1",
        scene="s",
        split="train",
        timestamp_us=0,
        lidar=SensorTime("now.bin", 0, STILL, AHEAD),
        cameras=cameras,
        sweeps=(SensorTime("before.bin", 0, STILL, STILL),),
    )


def test_photographs_of_unequal_sizes_are_filled_up(frame: KeyFrame, root: Path) -> None:
    sample = read_frame(frame, root, PLAIN)
    assert sample.images.shape == (2, 64, 96, 3)
    assert sample.sizes_hw.tolist() == [[45, 70], [33, 64]]
    assert sample.images[1, 33:].max() == sample.images[1, :, 64:].max() == 0
    assert sample.images[1, :33, :64].any() and sample.points.shape == (2, 3)


def test_half_the_size_halves_the_matrix(frame: KeyFrame, root: Path) -> None:
    full = read_frame(frame, root, PLAIN)
    half = read_frame(frame, root, PLAIN.model_copy(update={"scale": 0.5}))
    assert half.sizes_hw.tolist() == [[22, 35], [16, 32]]
    np.testing.assert_allclose(half.lidar2img[:, :2], full.lidar2img[:, :2] / 2)


def test_draws_follow_the_generator(frame: KeyFrame, root: Path) -> None:
    settings = ImageSettings(transfer="uint8")
    one, again, other = (
        read_frame(frame, root, settings, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.images.dtype == np.uint8
    np.testing.assert_array_equal(one.images, again.images)
    assert (one.images != other.images).any()


def test_colors_are_distorted_step_by_step() -> None:
    rgb = np.random.default_rng(0).uniform(0, 255, (6, 5, 3)).astype(np.float32)
    nothing = ColorDraw(None, None, False, None, None, None)
    np.testing.assert_array_equal(distort_colors(rgb, nothing), rgb)
    turned = distort_colors(rgb, ColorDraw(None, None, False, None, 120.0, None))
    np.testing.assert_allclose(turned, rgb[..., [2, 0, 1]], atol=0.05)
    gray = distort_colors(rgb, ColorDraw(None, None, False, 0.0, None, None))
    np.testing.assert_allclose(gray, rgb.max(-1, keepdims=True).repeat(3, -1), atol=0.01)
    both = distort_colors(rgb, ColorDraw(10.0, 0.5, True, None, None, (2, 1, 0)))
    np.testing.assert_allclose(both, ((rgb + 10) * 0.5)[..., ::-1], rtol=1e-6)
    draws = [draw_colors(np.random.default_rng(seed)) for seed in range(200)]
    for name in ("brightness", "contrast", "saturation", "hue_deg", "channels"):
        share = np.mean([getattr(draw, name) is None for draw in draws])
        assert 0.35 < share < 0.65, name


def test_a_photograph_of_another_size_is_refused(frame: KeyFrame, root: Path) -> None:
    Pillow.new("RGB", (64, 48)).save(root / "left.png")
    with pytest.raises(InputError, match=r"left.png of key frame t1 has 48 x 64 pixels"):
        read_frame(frame, root, PLAIN)


def test_earlier_sweeps_are_moved_to_the_key_frame(frame: KeyFrame, root: Path) -> None:
    points = read_frame(frame, root, PLAIN).points
    alone = training_occupancy(frame, points, root, GRID, TargetSettings())
    both = training_occupancy(frame, points, root, GRID, TargetSettings(sweeps=5))
    # The vehicle moved by 2 m: what lay at -1.5 m lies at -3.5 m now. Far points are clipped.
    assert np.argwhere(alone).tolist() == [[4, 4, 1], [7, 4, 1]]
    assert np.argwhere(both).tolist() == [[0, 4, 1], [4, 4, 1], [7, 4, 1]]
    (root / "before.bin").unlink()
    with pytest.raises(InputError, match=r"before\.bin of key frame t1 cannot be read"):
        training_occupancy(frame, points, root, GRID, TargetSettings(sweeps=1))


def test_unobserved_voxels_can_be_left_out(frame: KeyFrame, root: Path) -> None:
    points = np.array([[3.5, 0.2, 0.2]], dtype=np.float32)
    settings = TargetSettings(unobserved="ignored")
    labels = training_occupancy(frame, points, root, GRID, settings)
    assert labels[7, 4, 1] == 1 and (labels[4:7, 4, 1] == 0).all()
    assert (labels == 255).sum() == labels.size - 4
    far = np.array([[30.0, 0.0, 0.0]], dtype=np.float32)
    assert (observed_labels([(far, np.zeros(3))], GRID) != 1).all()


def with_targets(sample: FrameSample, rows: int) -> FrameSample:
    return FrameSample(
        sample.token,
        sample.images,
        sample.sizes_hw,
        sample.photo_sizes_hw,
        sample.lidar2img,
        sample.points,
        np.zeros(GRID.size_xyz, dtype=np.uint8),
        None,
        np.zeros(rows, dtype=np.int64),
        Codes(torch.zeros((rows, 4), dtype=torch.uint8), "fit"),
    )


def test_batches_keep_unequal_numbers_of_points(frame: KeyFrame, root: Path) -> None:
    sample = read_frame(frame, root, PLAIN)
    batch = join_frames([with_targets(sample, 3), with_targets(sample, 5)])
    assert [len(x) for x in batch.feature_xyz] == [len(x) for x in batch.targets] == [3, 5]
    assert batch.images.shape == (2, 2, 64, 96, 3) and bool(batch.kept.all())
    with pytest.raises(InputError, match="read without targets"):
        join_frames([sample])
    one_camera = read_frame(KeyFrame(**{**vars(frame), "cameras": frame.cameras[:1]}), root, PLAIN)
    with pytest.raises(InputError, match=r"\[1, 2\] cameras are in one batch"):
        join_frames([with_targets(sample, 3), with_targets(one_camera, 3)])
