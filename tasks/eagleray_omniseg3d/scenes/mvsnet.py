"""Scenes in the layout of multi-view stereo networks: one camera file per image.

``images_4/<stem>.*``, ``cams_4/<stem>*.txt`` (rows 2 to 4 are cam_from_world), ``intrinsics.txt``,
``aabb.txt`` and, if there, ``depth_4/<stem>.*`` (float maps).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from eagleray_omniseg3d.errors import MissingImageError, PoseError, SceneError
from eagleray_omniseg3d.scenes.poses import FloatArray, check_world_from_cam, invert
from eagleray_omniseg3d.scenes.scene import IMAGE_SUFFIXES, Scene, View

_REDUCTION = 4
"""Stored images are reduced by this factor, as their folders' names say."""
_MARGIN = 1.2
_TEST_START, _TEST_STEP = 3, 20
"""Every 20th view from the fourth is held out."""
_CENTER_TOLERANCE = 0.25
"""How far a principal point may be off the image's middle, as a share of its size."""


def read_mvsnet_scene(root: Path) -> Scene:
    """Read a scene with one camera file per image.

    The box's center becomes the origin and 1.2 times its longest side the unit, as for Replica.
    ``intrinsics.txt`` may belong to the stored images or to the originals, four times as large;
    the principal point tells which.

    Raises:
        SceneError: A file is malformed.
        PoseError: A pose is no rigid transform.
        MissingImageError: An image has no camera, or the folder is empty.
    """
    images = sorted(p for p in _folder(root, "images").iterdir() if _is_image(p))
    if not images:
        raise MissingImageError(f"{root}: images_{_REDUCTION} holds no images")
    size_hw = _size(images[0])
    box = _numbers(root / "aabb.txt", 6).reshape(2, 3)
    if not (box[1] > box[0]).all():
        raise SceneError(f"{root / 'aabb.txt'}: lower corner first, found {box.tolist()}")
    shift, scale = box.mean(axis=0), float(_MARGIN * (box[1] - box[0]).max())
    poses = np.stack([_pose(root, path) for path in images])
    poses[:, :, 3] = (poses[:, :, 3] - shift) / scale
    depths = _depth_paths(root, images)
    views = tuple(
        View(path.stem, path, pose, depth)
        for path, pose, depth in zip(images, poses, depths, strict=True)
    )
    held_out = tuple(range(_TEST_START, len(views), _TEST_STEP))
    return Scene(
        views=views,
        camera_matrix=_intrinsics(root / "intrinsics.txt", size_hw),
        size_hw=size_hw,
        splits={
            "train": tuple(i for i in range(len(views)) if i not in held_out),
            "test": held_out,
        },
        shift=shift,
        scale=scale,
        box=(box - shift) / scale,
        depth_unit=1.0 / scale,
    )


def _folder(root: Path, name: str) -> Path:
    folder = root / f"{name}_{_REDUCTION}"
    if not folder.is_dir():
        raise MissingImageError(f"{root} has no folder {folder.name}")
    return folder


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _size(path: Path) -> tuple[int, int]:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise MissingImageError(f"{path} is no image that can be read")
    return int(pixels.shape[0]), int(pixels.shape[1])


def _pose(root: Path, image: Path) -> FloatArray:
    """Return the (3, 4) world_from_cam of an image's camera file."""
    folder = _folder(root, "cams")
    path = next(iter(sorted(folder.glob(f"{image.stem}*.txt"))), None)
    if path is None:
        raise MissingImageError(f"{folder} has no camera of {image.name}")
    try:
        rows = [[float(w) for w in line.split()] for line in path.read_text().split("\n")[1:4]]
        cam_from_world = np.array(rows, np.float64).reshape(3, 4)
    except (OSError, ValueError) as error:
        raise PoseError(f"{path}: lines 2 to 4 must be a 3 x 4 pose ({error})") from error
    return invert(check_world_from_cam(cam_from_world, str(path)))


def _depth_paths(root: Path, images: list[Path]) -> list[Path | None]:
    """Return the depth map of every image; none at all without the folder."""
    folder = root / f"depth_{_REDUCTION}"
    if not folder.is_dir():
        return [None] * len(images)
    found = [next(iter(sorted(folder.glob(f"{image.stem}.*"))), None) for image in images]
    missing = [image.name for image, path in zip(images, found, strict=True) if path is None]
    if missing:
        raise MissingImageError(f"{folder} has no depth of {', '.join(missing[:3])}")
    return found


def _intrinsics(path: Path, size_hw: tuple[int, int]) -> FloatArray:
    values = _numbers(path, 9, 16)
    side = 3 if values.size == 9 else 4
    matrix = values.reshape(side, side)[:3, :3].copy()
    for factor in (1.0, 1.0 / _REDUCTION):
        center = matrix[:2, 2] * factor / (size_hw[1], size_hw[0])
        if (np.abs(center - 0.5) <= _CENTER_TOLERANCE).all():
            matrix[:2] *= factor
            return matrix
    raise SceneError(
        f"{path}: principal point {matrix[:2, 2].tolist()} fits neither images of "
        f"{size_hw[1]} x {size_hw[0]} nor {_REDUCTION} times larger ones"
    )


def _numbers(path: Path, *counts: int) -> FloatArray:
    try:
        values = np.array([float(word) for word in path.read_text().split()], np.float64)
    except (OSError, ValueError) as error:
        raise SceneError(f"{path}: cannot be read as numbers ({error})") from error
    if values.size not in counts or not np.isfinite(values).all():
        raise SceneError(
            f"{path}: {' or '.join(map(str, counts))} finite numbers are needed, "
            f"found {values.size}"
        )
    return values
