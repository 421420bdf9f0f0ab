"""``transforms.json`` scenes: instant-ngp captures and NeRF-synthetic.

Their matrices are camera-to-world with OpenGL axes (right, up, backward).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eagleray_omniseg3d.errors import PoseError, SceneError
from eagleray_omniseg3d.scenes.poses import FloatArray, check_world_from_cam, from_opengl
from eagleray_omniseg3d.scenes.replica import read_json_object
from eagleray_omniseg3d.scenes.scene import (
    IMAGE_SUFFIXES,
    Scene,
    View,
    every_8th,
    require_images,
)

_SYNTHETIC_SIZE_PX = 800
_SYNTHETIC_DISTANCE = 1.5
"""Distance to which ngp_pl moves every NeRF-synthetic camera."""
_WHITE = 1.0
_DISTORTION_KEYS = ("k1", "k2", "k3", "k4", "p1", "p2")


def read_transforms_scene(root: Path, *, downsample: float, centered: bool = True) -> Scene:
    """Read ``transforms.json``: intrinsics once, a file and a matrix per frame.

    Poses are shifted to the mean point that the cameras look at and scaled by the distance of the
    nearest camera from it, unless ``data.box`` says where the scene is.

    Args:
        root: Folder of the scene.
        downsample: Image size in use over the size in the file, at most 1.
        centered: False leaves poses in the file's world coordinates.

    Raises:
        SceneError: The JSON is malformed, or asks for a lens with distortion.
        PoseError: A pose is no rigid transform.
        MissingImageError: An image is missing.
    """
    path = root / "transforms.json"
    values = read_json_object(path)
    matrix, size_hw = _intrinsics(values, path, downsample)
    names, files, poses = _frames(values, root, path, downsample)
    shift, scale = np.zeros(3), 1.0
    if centered:
        shift = _focus(poses)
        scale = float(np.linalg.norm(poses[:, :, 3] - shift, axis=1).min())
    if not scale > 0:
        raise SceneError(f"{path}: a camera stands where all look at; give data.box")
    poses[:, :, 3] = (poses[:, :, 3] - shift) / scale
    views = tuple(View(*fields) for fields in zip(names, files, poses, strict=True))
    require_images(views, root)
    return Scene(
        views=views,
        camera_matrix=matrix,
        size_hw=size_hw,
        splits=every_8th(len(views)),
        shift=shift,
        scale=scale,
    )


def read_synthetic_scene(root: Path, *, downsample: float) -> Scene:
    """Read ``transforms_{train,val,test}.json`` of NeRF-synthetic; images are blended on white.

    Args:
        root: Folder of the scene.
        downsample: Image size in use over 800 pixels.

    Raises:
        SceneError: A JSON is malformed.
        PoseError: A pose is no rigid transform.
        MissingImageError: An image is missing.
    """
    views: list[View] = []
    splits: dict[str, tuple[int, ...]] = {}
    side = int(_SYNTHETIC_SIZE_PX * downsample)
    focal = 0.0
    for split in ("train", "val", "test"):
        path = root / f"transforms_{split}.json"
        if split != "train" and not path.is_file():
            continue
        values = read_json_object(path)
        _, files, poses = _frames(values, root, path, downsample)
        focal = _angle_focal(values, _SYNTHETIC_SIZE_PX, path) * downsample
        distances = np.linalg.norm(poses[:, :, 3], axis=1)
        if not (distances > 0).all():
            raise PoseError(f"{path}: a camera stands at the origin, which all look at")
        poses[:, :, 3] *= _SYNTHETIC_DISTANCE / distances[:, None]
        names = [file.relative_to(root).with_suffix("").as_posix() for file in files]
        splits[split] = tuple(range(len(views), len(views) + len(files)))
        views += [View(*fields) for fields in zip(names, files, poses, strict=True)]
    require_images(tuple(views), root)
    return Scene(
        views=tuple(views),
        camera_matrix=np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1.0]]),
        size_hw=(side, side),
        splits=splits,
        background=_WHITE,
    )


def _intrinsics(
    values: Mapping[str, Any], path: Path, downsample: float
) -> tuple[FloatArray, tuple[int, int]]:
    try:
        bent = [key for key in _DISTORTION_KEYS if abs(float(values.get(key, 0.0))) > 0]
        width, height = int(values["w"]), int(values["h"])
        fx = float(values["fl_x"]) if "fl_x" in values else _angle_focal(values, width, path)
        fy = float(values.get("fl_y", fx))
        cx, cy = float(values.get("cx", width / 2)), float(values.get("cy", height / 2))
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise SceneError(f"{path}: intrinsics are missing or wrong ({error!r})") from error
    if bent:
        raise SceneError(f"{path}: the lens is distorted ({', '.join(bent)}); undistort the images")
    matrix = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    matrix[:2] *= downsample
    return matrix, (round(height * downsample), round(width * downsample))


def _angle_focal(values: Mapping[str, Any], width_px: int, path: Path) -> float:
    try:
        return 0.5 * width_px / math.tan(0.5 * float(values["camera_angle_x"]))
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise SceneError(f"{path}: neither fl_x nor camera_angle_x is given") from error


def _frames(
    values: Mapping[str, Any], root: Path, path: Path, downsample: float
) -> tuple[list[str], list[Path], FloatArray]:
    try:
        frames = [(str(f["file_path"]), f["transform_matrix"]) for f in values["frames"]]
    except (KeyError, TypeError) as error:
        raise SceneError(
            f"{path}: frames need file_path and transform_matrix ({error!r})"
        ) from error
    if not all(Path(name).name and "\0" not in name for name, _ in frames):
        raise SceneError(f"{path}: a frame's file_path is no name of a file")
    if not frames:
        raise SceneError(f"{path}: there are no frames")
    frames.sort(key=lambda frame: frame[0])
    files = [_image_file(root, name, downsample) for name, _ in frames]
    checked = [check_world_from_cam(matrix, f"{path}: {name}") for name, matrix in frames]
    poses = np.stack([from_opengl(pose) for pose in checked])
    stems = [file.stem for file in files]
    if len(set(stems)) != len(stems):
        stems = [Path(name).with_suffix("").as_posix() for name, _ in frames]
    return stems, files, poses


def _image_file(root: Path, name: str, downsample: float) -> Path:
    path = root / name
    reduced = path.parent.with_name(f"{path.parent.name}_{round(1 / downsample)}") / path.name
    for candidate in (reduced, path):
        for suffix in ("", *IMAGE_SUFFIXES):
            file = candidate if not suffix else candidate.with_name(candidate.name + suffix)
            if file.is_file():
                return file
    return path


def _focus(poses: FloatArray) -> FloatArray:
    """Return the point nearest to all optical axes (least squares)."""
    normal, right = np.zeros((3, 3)), np.zeros(3)
    for pose in poses:
        across = np.eye(3) - np.outer(pose[:, 2], pose[:, 2])
        normal, right = normal + across, right + across @ pose[:, 3]
    return np.asarray(np.linalg.lstsq(normal, right, rcond=None)[0], np.float64)
