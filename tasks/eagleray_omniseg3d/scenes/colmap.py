"""COLMAP scenes: 360-degree captures, LLFF (with the NVOS split), own captures (spec 8.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from eagleray_omniseg3d.errors import CameraModelError, MissingImageError, SceneError
from eagleray_omniseg3d.poses import FloatArray, average_frame, invert, transform_poses
from eagleray_omniseg3d.scenes.colmap_model import ColmapCamera, ColmapModel, read_model
from eagleray_omniseg3d.scenes.scene import (
    IMAGE_SUFFIXES,
    Scene,
    View,
    every_8th,
    require_images,
)

NVOS_REFERENCE_VIEW = {"fern": 1, "horns": 8, "orchids": 12, "trex": 31}
"""View that NVOS keeps for its scribbles, by LLFF scene; 0 for the other scenes."""
_DISTORTION_TOLERANCE = 1e-9

Split = Literal["auto", "every_8th", "nvos"]


def read_colmap_scene(
    root: Path, *, downsample: float, split: Split = "auto", faithful: bool = True
) -> Scene:
    """Read a COLMAP scene: ``sparse/0`` and ``images_<n>`` or ``images``.

    The scene is turned into the cameras' average frame, centered at the mean of the points and
    scaled so that the nearest camera has distance 1 from the origin.

    Args:
        root: Folder of the scene.
        downsample: Image size in use over the size in the model, at most 1.
        split: ``every_8th`` holds out every 8th view, ``nvos`` one reference view for training
            while the test split has all; ``auto`` takes ``nvos`` if the path contains "llff", as
            the original does.
        faithful: Take the intrinsics of camera 1 for all images and ignore distortion, as the
            original does; otherwise both are errors where they matter.

    Raises:
        ColmapFileError: The model cannot be read.
        CameraModelError: A camera has no pinhole form, or (unless faithful) is distorted or not
            alone.
        MissingImageError: A registered image is missing.
        SceneError: The scene has no points or brings its own region of interest.
    """
    model = read_model(root / "sparse" / "0")
    if (root / "sparse" / "0" / "roi.ply").exists():
        raise SceneError(
            f"{root}: sparse/0/roi.ply (a region of interest) is not supported; take the file away "
            "and give the region as data.box"
        )
    if not len(model.points) or not model.images:
        raise SceneError(
            f"{root}: the model has {len(model.images)} images, {len(model.points)} points; both "
            "are needed to center the scene"
        )
    matrix, size_hw = _intrinsics(_camera(model, root, faithful=faithful), downsample, faithful)
    world_from_cam = np.stack([image.world_from_cam for image in model.images])
    frame = average_frame(world_from_cam, model.points)
    inverse = invert(frame)
    poses = transform_poses(inverse, world_from_cam)
    scale = float(np.linalg.norm(poses[:, :, 3], axis=1).min())
    if not scale > 0:
        raise SceneError(
            f"{root}: a camera stands at the mean of the points, so the scene has no scale; "
            "give data.box"
        )
    poses[:, :, 3] /= scale
    names = [image.name for image in model.images]
    views = _views(root, names, poses, downsample)
    splits = _nvos_split(root, len(views)) if _is_nvos(root, split) else every_8th(len(views))
    return Scene(
        views=views,
        camera_matrix=matrix,
        size_hw=size_hw,
        splits=splits,
        scale=scale,
        points=(model.points @ inverse[:, :3].T + inverse[:, 3]) / scale,
        frame=inverse,
    )


def _camera(model: ColmapModel, root: Path, *, faithful: bool) -> ColmapCamera:
    if faithful:
        if 1 not in model.cameras:
            raise CameraModelError(
                f"{root}: the original takes camera 1 for all images, the model has "
                f"cameras {sorted(model.cameras)}; set faithful: false"
            )
        return model.cameras[1]
    used = [model.cameras[i] for i in sorted({image.camera_id for image in model.images})]
    first = used[0]
    for other in used[1:]:
        size, other_size = (first.width_px, first.height_px), (other.width_px, other.height_px)
        if size != other_size or not np.allclose(other.pinhole()[0], first.pinhole()[0]):
            raise CameraModelError(
                f"{root}: images come from cameras that differ ({first.camera_id} and "
                f"{other.camera_id}); one camera for all is supported (colmap --single_camera 1)"
            )
    return first


def _intrinsics(
    camera: ColmapCamera, downsample: float, faithful: bool
) -> tuple[FloatArray, tuple[int, int]]:
    matrix, distortion = camera.pinhole()
    if not faithful and any(abs(value) > _DISTORTION_TOLERANCE for value in distortion):
        raise CameraModelError(
            f"camera {camera.camera_id} is distorted ({distortion}); undistort the images first "
            "(colmap image_undistorter), or set faithful: true to ignore it as the original does"
        )
    matrix[:2] *= downsample
    size = round(camera.height_px * downsample), round(camera.width_px * downsample)
    return matrix, size


def _views(root: Path, names: list[str], poses: FloatArray, downsample: float) -> tuple[View, ...]:
    folder = root / f"images_{round(1 / downsample)}"
    folder = folder if folder.is_dir() else root / "images"
    if not folder.is_dir():
        raise MissingImageError(f"{root} has neither {folder.name} nor images")
    by_stem = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    hierarchies = next(iter(sorted(root.glob("sam*"))), None)
    views = []
    for name, pose in zip(names, poses, strict=True):
        stem = Path(name).with_suffix("").as_posix()
        npz = hierarchies / f"{Path(name).name.split('.')[0]}.npz" if hierarchies else None
        views.append(
            View(
                stem,
                by_stem.get(stem, folder / name),
                pose,
                hierarchy_path=npz if npz is not None and npz.is_file() else None,
            )
        )
    require_images(tuple(views), root)
    return tuple(views)


def _is_nvos(root: Path, split: Split) -> bool:
    return split == "nvos" or (split == "auto" and "llff" in str(root))


def _nvos_split(root: Path, count: int) -> dict[str, tuple[int, ...]]:
    reference = next((v for name, v in NVOS_REFERENCE_VIEW.items() if name in str(root)), 0)
    return {
        "train": tuple(i for i in range(count) if i != reference),
        "test": tuple(range(count)),
    }
