"""COLMAP scenes: 360-degree captures, LLFF (with the NVOS split), own captures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eagleray_omniseg3d.errors import CameraModelError, MissingImageError, SceneError
from eagleray_omniseg3d.scenes.colmap_model import ColmapCamera, ColmapModel, read_model
from eagleray_omniseg3d.scenes.depth_map import depth_map_paths
from eagleray_omniseg3d.scenes.poses import FloatArray, average_frame, invert, transform_poses
from eagleray_omniseg3d.scenes.scene import (
    IMAGE_SUFFIXES,
    Scene,
    View,
    every_8th,
    require_images,
)
from eagleray_omniseg3d.settings import Split

NVOS_REFERENCE_VIEW = {"fern": 1, "horns": 8, "orchids": 12, "trex": 31}
"""View that NVOS keeps for its scribbles, by LLFF scene; 0 for the other scenes."""
_DISTORTION_TOLERANCE = 1e-9
_IDENTITY = np.eye(4)[:3]


def read_colmap_scene(
    root: Path,
    *,
    downsample: float,
    split: Split = "auto",
    faithful: bool = True,
    centered: bool = True,
    with_depth: bool = False,
) -> Scene:
    """Read a COLMAP scene: ``sparse/0`` and ``images_<n>`` or ``images``.

    The scene is turned into the cameras' average frame, centered at the mean of the points and
    scaled so that the nearest camera has distance 1 from the origin. Where ``sparse/0/roi.ply``
    marks a region, its oriented bounding box gives frame and scale instead: the longest side
    becomes 1.

    Args:
        root: Folder of the scene.
        downsample: Image size in use over the size in the model, at most 1.
        split: ``every_8th`` holds out every 8th view, ``nvos`` one reference view for training
            while the test split has all; ``auto`` takes ``nvos`` if the path contains "llff", as
            the original does.
        faithful: Take the intrinsics of camera 1 for all images and ignore distortion, as the
            original does; otherwise both are errors where they matter.
        centered: False leaves poses and points in the file's world coordinates.
        with_depth: Give the views the depth maps of the dense reconstruction.

    Raises:
        ColmapFileError: The model cannot be read.
        CameraModelError: A camera has no pinhole form, or (unless faithful) is distorted or not
            alone.
        MissingImageError: A registered image or its depth map is missing.
        SceneError: The scene has no images or no points, or its region cannot be used.
    """
    model = read_model(root / "sparse" / "0")
    if not model.images:
        raise SceneError(f"{root}: the model has no registered images")
    matrix, size_hw = _intrinsics(_camera(model, root, faithful=faithful), downsample, faithful)
    world_from_cam = np.stack([image.world_from_cam for image in model.images])
    place = _place(root, model, world_from_cam) if centered else _Place(_IDENTITY, 1.0)
    poses = transform_poses(place.frame, world_from_cam)
    poses[:, :, 3] /= place.scale
    names = [image.name for image in model.images]
    maps = depth_map_paths(root, names) if with_depth else None
    views = _views(root, names, poses, downsample, maps)
    splits = _nvos_split(root, len(views)) if _is_nvos(root, split) else every_8th(len(views))
    points = model.points @ place.frame[:, :3].T + place.frame[:, 3]
    return Scene(
        views=views,
        camera_matrix=matrix,
        size_hw=size_hw,
        splits=splits,
        scale=place.scale,
        box=place.box,
        points=points / place.scale,
        depth_unit=1.0 / place.scale,
        frame=place.frame,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the scene is put: scene = (frame @ world) / scale, with what is worth marching."""

    frame: FloatArray
    scale: float
    box: FloatArray | None = None


def _place(root: Path, model: ColmapModel, world_from_cam: FloatArray) -> _Place:
    region = root / "sparse" / "0" / "roi.ply"
    if region.is_file():
        return _region_place(region)
    if not len(model.points):
        raise SceneError(
            f"{root}: the model has no points, which are needed to center the scene; give data.box"
        )
    frame = invert(average_frame(world_from_cam, model.points))
    poses = transform_poses(frame, world_from_cam)
    scale = float(np.linalg.norm(poses[:, :, 3], axis=1).min())
    if not scale > 0:
        raise SceneError(
            f"{root}: a camera stands at the mean of the points, so the scene has no scale; "
            "give data.box"
        )
    return _Place(frame, scale)


def _region_place(path: Path) -> _Place:
    """Return the frame of the oriented bounding box of a point cloud; its longest side is 1."""
    import trimesh

    bounds: Any = trimesh.bounds  # untyped
    try:
        cloud: Any = trimesh.load(path)
        frame, extents = bounds.oriented_bounds(np.asarray(cloud.vertices))
    except (ValueError, KeyError, IndexError, AttributeError, RuntimeError, OSError) as error:
        raise SceneError(f"{path}: no point cloud that spans a region ({error})") from error
    scale = float(np.max(extents))
    if not (np.isfinite(scale) and np.min(extents) > 0):
        raise SceneError(f"{path}: the region has no volume, its sides are {list(extents)}")
    half = np.asarray(extents, np.float64) / (2.0 * scale)
    return _Place(np.asarray(frame, np.float64)[:3], scale, np.stack([-half, half]))


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


def _views(
    root: Path,
    names: list[str],
    poses: FloatArray,
    downsample: float,
    depth_maps: list[Path] | None,
) -> tuple[View, ...]:
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
    depths: Sequence[Path | None] = depth_maps or [None] * len(names)
    for name, pose, depth in zip(names, poses, depths, strict=True):
        stem = Path(name).with_suffix("").as_posix()
        npz = hierarchies / f"{Path(name).name.split('.')[0]}.npz" if hierarchies else None
        views.append(
            View(
                stem,
                by_stem.get(stem, folder / name),
                pose,
                depth,
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
