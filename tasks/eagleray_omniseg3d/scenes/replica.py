"""Replica: the NeRF-SLAM export (``replica``) and the Semantic-NeRF renders (``replica_small``).

Spec 8.2 and 8.3. Both keep the fixed lengths of the originals: 2000 poses with every 10th frame
stored, and 900 poses of which every 10th is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from eagleray_omniseg3d.errors import MissingImageError, SceneError
from eagleray_omniseg3d.scenes.poses import FloatArray, check_world_from_cam
from eagleray_omniseg3d.scenes.scene import Scene, View, require_images
from eagleray_vision.json_file import read_json

_FRAME_STEP = 10
"""Every 10th frame of either export is stored or used."""
_REPLICA_MARGIN = 1.2
_TRAIN_STEP = 2
"""Of the stored frames of ``replica``, every 2nd trains."""
_TEST_START, _TEST_STEP = 1, 8
"""Of the stored frames of ``replica``, every 8th from the second tests."""

_SMALL_COUNT = 900
_SMALL_MARGIN = 1.1
_SMALL_SIZE_HW = (480, 640)
_SMALL_MATRIX = ((320.0, 0.0, 320.0), (0.0, 320.0, 240.0), (0.0, 0.0, 1.0))
_MM_PER_M = 1000.0


def read_replica_scene(root: Path) -> Scene:
    """Read ``transforms_train.json`` with ``results/{rgb,depth,sam}`` (or these folders directly).

    Poses are camera-to-world with axes right, down, forward already. The box's center becomes the
    origin and 1.2 times its longest side the unit.

    Raises:
        SceneError: The JSON is malformed.
        PoseError: A pose is no rigid transform.
        MissingImageError: Fewer images than poses ask for.
    """
    values = read_json_object(root / "transforms_train.json")
    try:
        box = np.asarray(values["aabb"], np.float64)
        size_hw = int(values["h"]), int(values["w"])
        fx, fy = float(values["fl_x"]), float(values["fl_y"])
        depth_scale = float(values["integer_depth_scale"])
        frames = [frame["transform_matrix"] for frame in values["frames"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SceneError(
            f"{root / 'transforms_train.json'}: {error!r} is missing or wrong"
        ) from error
    if box.shape != (2, 3) or not (np.isfinite(box).all() and (box[1] > box[0]).all()):
        raise SceneError(
            f"{root / 'transforms_train.json'}: the bounding box aabb must be the lower and the "
            f"upper corner, found {box.tolist()}"
        )
    if not frames:
        raise SceneError(f"{root / 'transforms_train.json'}: there are no frames")
    shift = box.mean(axis=0)
    scale = float(_REPLICA_MARGIN * (box[1] - box[0]).max())
    stored = range(0, len(frames), _FRAME_STEP)
    poses = np.stack([check_world_from_cam(frames[i], f"{root}: frame {i}") for i in stored])
    poses[:, :, 3] = (poses[:, :, 3] - shift) / scale
    height, width = size_hw
    return Scene(
        views=_listed_views(root, poses),
        camera_matrix=np.array([[fx, 0, width / 2], [0, fy, height / 2], [0, 0, 1.0]]),
        size_hw=size_hw,
        splits={
            "train": tuple(range(0, len(poses), _TRAIN_STEP)),
            "test": tuple(range(_TEST_START, len(poses), _TEST_STEP)),
        },
        shift=shift,
        scale=scale,
        depth_unit=depth_scale / scale,
    )


def read_replica_small_scene(root: Path, *, hierarchy_folder: str = "sam") -> Scene:
    """Read ``traj_w_c.txt`` with ``rgb/rgb_<i>.png`` and ``depth/depth_<i>.png``.

    The unit is 1.1 times the longest side of a rough box around the depth points. (The original
    adds camera-frame directions to the positions; the box follows it, since it sets the scale.)

    Args:
        root: Folder of the scene.
        hierarchy_folder: Folder and file prefix of the hierarchies.

    Raises:
        SceneError: The trajectory is malformed or a depth image is missing.
        PoseError: A pose is no rigid transform.
        MissingImageError: An image is missing.
    """
    path = root / "traj_w_c.txt"
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise SceneError(f"{path}: no table of poses ({error})") from error
    if table.shape[1] != 16 or len(table) < _SMALL_COUNT:
        raise SceneError(
            f"{path}: {_SMALL_COUNT} rows of 16 numbers are needed, found {table.shape}"
        )
    frames = range(0, _SMALL_COUNT, _FRAME_STEP)
    poses = np.stack(
        [check_world_from_cam(table[i].reshape(4, 4), f"{path}:{i + 1}") for i in frames]
    )
    box = _rough_box(root, poses, frames)
    scale = float(_SMALL_MARGIN * (box[1] - box[0]).max())
    shift = box.mean(axis=0)
    poses[:, :, 3] = (poses[:, :, 3] - shift) / scale
    views = tuple(
        View(
            f"rgb_{i}",
            root / "rgb" / f"rgb_{i}.png",
            pose,
            root / "depth" / f"depth_{i}.png",
            _existing(root / hierarchy_folder / f"{hierarchy_folder}_{i}.npz"),
        )
        for i, pose in zip(frames, poses, strict=True)
    )
    require_images(views, root)
    everything = tuple(range(len(views)))
    return Scene(
        views=views,
        camera_matrix=np.array(_SMALL_MATRIX),
        size_hw=_SMALL_SIZE_HW,
        splits={"train": everything, "test": everything},
        shift=shift,
        scale=scale,
        box=(box - shift) / scale,
        depth_unit=1.0 / _MM_PER_M / scale,
    )


def _rough_box(root: Path, poses: FloatArray, frames: range) -> FloatArray:
    """Return the box around position + camera-frame direction * depth of all used frames, world
    units.
    """
    height, width = _SMALL_SIZE_HW
    matrix = np.array(_SMALL_MATRIX)
    u = (np.arange(width) - matrix[0, 2] + 0.5) / matrix[0, 0]
    v = (np.arange(height) - matrix[1, 2] + 0.5) / matrix[1, 1]
    directions = np.stack([*np.meshgrid(u, v), np.ones((height, width))], axis=-1)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for i, pose in zip(frames, poses, strict=True):
        path = root / "depth" / f"depth_{i}.png"
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if depth is None or depth.shape != _SMALL_SIZE_HW:
            raise SceneError(
                f"{path}: a 16-bit depth image of {width} x {height} is needed, found "
                f"{'nothing' if depth is None else depth.shape}"
            )
        points = directions * (depth / _MM_PER_M)[:, :, None] + pose[:, 3]
        low, high = np.minimum(low, points.min((0, 1))), np.maximum(high, points.max((0, 1)))
    return np.stack([low, high])


def _listed_views(root: Path, poses: FloatArray) -> tuple[View, ...]:
    base = root / "results" if (root / "results").is_dir() else root
    images = sorted((base / "rgb").glob("*.jpg"))
    depths, hierarchies = (
        sorted((base / "depth").glob("*.png")),
        sorted((base / "sam").glob("*.npz")),
    )
    if len(images) != len(poses):
        raise MissingImageError(
            f"{base / 'rgb'}: {len(poses)} images (every {_FRAME_STEP}th of the poses) are needed, "
            f"found {len(images)}"
        )
    at = _aligned(len(images))
    return tuple(
        View(path.stem, path, pose, at(depths, i), at(hierarchies, i))
        for i, (path, pose) in enumerate(zip(images, poses, strict=True))
    )


def _aligned(count: int) -> Callable[[list[Path], int], Path | None]:
    def at(files: list[Path], index: int) -> Path | None:
        if files and len(files) != count:
            raise MissingImageError(
                f"{files[0].parent}: {count} files are needed, one per image, found {len(files)}"
            )
        return files[index] if files else None

    return at


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def read_json_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        SceneError: It is missing, no JSON, or another value than an object.
    """
    values = read_json(path, SceneError, finite=False)
    if not isinstance(values, Mapping):
        raise SceneError(f"{path}: holds a {type(values).__name__}, expected an object")
    return values
