"""Rooms in the on-disk format of COLMAP: ``images/`` and
``sparse/0/{cameras,images,points3D}.bin``.

Binary layout: COLMAP's documentation of its output format. Points lie exactly on surfaces and are
listed in the views in which they are visible; key points are exact projections.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eagleray.task import SettingsError
from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_toyworld.formats.hierarchy import hierarchy_json
from eagleray_toyworld.rendering.camera import Pinhole
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.pose import FloatArray
from eagleray_toyworld.worlds.room import RoomPath, room_scene
from eagleray_vision.panoptic.label_image import deep_ids_png, encode_png

_PINHOLE_MODEL = 1
"""COLMAP's number of the camera model with parameters fx, fy, cx, cy."""
_CAMERA_ID = 1
POINTS_PER_VIEW = 300
_SPARSE_NAMES = ("sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin")
_MIN_TRACK = 3
"""Views in which a point must be visible to be kept."""
_DEPTH_AGREEMENT = 0.004
"""Relative difference up to which the depth at a projected point counts as the same surface."""
_MAX_VIEW_BYTES = 600_000_000
"""Limit on the depth and part images that are held at a time."""
_BYTES_PER_PIXEL = 11


@dataclass(frozen=True, kw_only=True)
class _View:
    """One rendered view as the tracks need it."""

    name: str
    camera: Pinhole
    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    part_id: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class SparsePoints:
    """Sparse points with their tracks.

    Attributes:
        points_m: (n, 3) float64 world coordinates, meters.
        rgb: (n, 3) uint8.
        visible: (views, n) bool.
        keypoints_px: (views, n, 2) float64 projections, pixels from the upper left image corner.
    """

    points_m: FloatArray
    rgb: NDArray[np.uint8]
    visible: NDArray[np.bool_]
    keypoints_px: FloatArray


def quaternion_wxyz(rotation: FloatArray) -> tuple[float, float, float, float]:
    """Return the unit quaternion (w, x, y, z), w >= 0, of a (3, 3) rotation matrix.

    Bar-Itzhack's form: the eigenvector of the largest eigenvalue; stable for every rotation.
    """
    m = np.asarray(rotation, dtype=np.float64)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = m.tolist()
    k = np.array(
        [
            [xx - yy - zz, 0.0, 0.0, 0.0],
            [yx + xy, yy - xx - zz, 0.0, 0.0],
            [zx + xz, zy + yz, zz - xx - yy, 0.0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    _, vectors = np.linalg.eigh(k / 3.0, UPLO="L")
    x, y, z, w = vectors[:, -1].tolist()
    sign = -1.0 if w < 0 else 1.0
    return sign * w, sign * x, sign * y, sign * z


def _sample_points(
    views: Sequence[_View], per_view: int, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.uint8], NDArray[np.int32]]:
    """Lift random pixels of all views to the surface: points, colors, part numbers."""
    points, colors, parts = [], [], []
    for view in views:
        height, width = view.depth_m.shape
        rows, columns = rng.integers(height, size=per_view), rng.integers(width, size=per_view)
        z = view.depth_m[rows, columns].astype(np.float64)
        seen = np.isfinite(z)
        rows, columns, z = rows[seen], columns[seen], z[seen]
        uv = np.stack([columns + 0.5, rows + 0.5], axis=1)
        local = (uv - view.camera.center_px) / view.camera.focal_px
        rays = np.concatenate([local, np.ones((len(z), 1))], axis=1) * z[:, None]
        pose = view.camera.world_from_cam
        points.append(rays @ pose[:3, :3].T + pose[:3, 3])
        colors.append(view.rgb[rows, columns])
        parts.append(view.part_id[rows, columns])
    return np.concatenate(points), np.concatenate(colors), np.concatenate(parts)


def _sees(
    view: _View, points_m: FloatArray, part_ids: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Tell which points a view sees (same part, same depth), and where."""
    uv, depth = view.camera.project(points_m)
    height, width = view.depth_m.shape
    inside = (depth > 0) & (uv >= 0).all(axis=1) & (uv[:, 0] < width) & (uv[:, 1] < height)
    columns = np.where(inside, uv[:, 0], 0).astype(np.intp)
    rows = np.where(inside, uv[:, 1], 0).astype(np.intp)
    near = abs(view.depth_m[rows, columns] - depth) <= _DEPTH_AGREEMENT * depth
    return inside & near & (view.part_id[rows, columns] == part_ids), uv


def sparse_points(views: Sequence[_View], per_view: int, rng: np.random.Generator) -> SparsePoints:
    """Sample surface points and find all views that see them.

    Args:
        views: The rendered views.
        per_view: Pixels drawn in each view.
        rng: Random source of the pixels.

    Returns:
        The points seen by at least three views.
    """
    points, colors, parts = _sample_points(views, per_view, rng)
    seen = [_sees(view, points, parts) for view in views]
    visible = np.stack([mask for mask, _ in seen])
    keypoints = np.stack([uv for _, uv in seen])
    keep = visible.sum(axis=0) >= _MIN_TRACK
    return SparsePoints(
        points_m=points[keep],
        rgb=colors[keep],
        visible=visible[:, keep],
        keypoints_px=keypoints[:, keep],
    )


def cameras_bin(camera: Pinhole) -> bytes:
    """Return ``cameras.bin`` with one PINHOLE camera of id 1."""
    height, width = camera.size_hw
    head = struct.pack("<QiiQQ", 1, _CAMERA_ID, _PINHOLE_MODEL, width, height)
    return head + struct.pack("<4d", *camera.focal_px, *camera.center_px)


def images_bin(names: Sequence[str], cameras: Sequence[Pinhole], sparse: SparsePoints) -> bytes:
    """Return ``images.bin``; image ids and point ids count from 1."""
    out = [struct.pack("<Q", len(names))]
    for k, (name, camera) in enumerate(zip(names, cameras, strict=True)):
        cam_from_world = np.linalg.inv(camera.world_from_cam)
        quaternion = quaternion_wxyz(cam_from_world[:3, :3])
        pose = (*quaternion, *cam_from_world[:3, 3].tolist())
        out.append(struct.pack("<i7di", k + 1, *pose, _CAMERA_ID) + name.encode() + b"\0")
        seen = np.flatnonzero(sparse.visible[k])
        rows = np.empty(len(seen), dtype=[("xy", "<f8", 2), ("point", "<i8")])
        rows["xy"], rows["point"] = sparse.keypoints_px[k, seen], seen + 1
        out.append(struct.pack("<Q", len(seen)) + rows.tobytes())
    return b"".join(out)


def points_bin(sparse: SparsePoints) -> bytes:
    """Return ``points3D.bin``; the error is 0, as key points are exact."""
    place = np.cumsum(sparse.visible, axis=1) - 1
    out = [struct.pack("<Q", len(sparse.points_m))]
    for k, (point, color) in enumerate(zip(sparse.points_m, sparse.rgb, strict=True)):
        views = np.flatnonzero(sparse.visible[:, k])
        out.append(struct.pack("<Q3d3Bd", k + 1, *point.tolist(), *color.tolist(), 0.0))
        track = np.stack([views + 1, place[views, k]], axis=1).astype("<i4")
        out.append(struct.pack("<Q", len(views)) + track.tobytes())
    return b"".join(out)


def _check_size(num_views: int, size_hw: tuple[int, int]) -> None:
    need = num_views * size_hw[0] * size_hw[1] * _BYTES_PER_PIXEL
    if need > _MAX_VIEW_BYTES:
        raise SettingsError(
            f"{num_views} views of {size_hw[1]} x {size_hw[0]} pixels need {need / 1e6:.0f} MB for "
            f"their depths; allowed are {_MAX_VIEW_BYTES / 1e6:.0f} MB: take fewer or smaller views"
        )


def colmap_files(
    *,
    seed: int,
    index: int,
    num_views: int,
    size_hw: tuple[int, int],
    points_per_view: int = POINTS_PER_VIEW,
) -> Iterator[Mapping[str, bytes]]:
    """Yield all files of a room by relative path, view after view, ``sparse/0`` last.

    Besides COLMAP's own files there are ``instance/<stem>.png`` (16-bit object numbers) and
    ``masks/<stem>.json`` (object and part masks).

    Args:
        seed: Seed of the world.
        index: Number of the room.
        num_views: Number of views.
        size_hw: Image height and width, pixels.
        points_per_view: Pixels per view from which points are made.

    Raises:
        SettingsError: The views do not fit in a worker's memory.
    """
    _check_size(num_views, size_hw)
    scene = room_scene(seed, index)
    path = RoomPath(num_views=num_views, size_hw=size_hw)
    views = []
    for k in range(num_views):
        camera, stem = path.camera(k), f"view{k:04d}"
        frame = render(scene, camera)
        yield {
            f"images/{stem}.png": encode_png(frame.rgb),
            f"instance/{stem}.png": deep_ids_png(frame.object_id),
            f"masks/{stem}.json": hierarchy_json(frame, scene),
        }
        view = _View(
            name=f"{stem}.png",
            camera=camera,
            rgb=frame.rgb,
            depth_m=frame.depth_m,
            part_id=frame.part_id,
        )
        views.append(view)
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    sparse = sparse_points(views, points_per_view, rng)
    cameras = [view.camera for view in views]
    contents = (
        cameras_bin(cameras[0]),
        images_bin([view.name for view in views], cameras, sparse),
        points_bin(sparse),
    )
    yield dict(zip(_SPARSE_NAMES, contents, strict=True))


def write_colmap(
    root: Path,
    *,
    seed: int,
    index: int,
    num_views: int = 60,
    size_hw: tuple[int, int] = (360, 480),
    points_per_view: int = POINTS_PER_VIEW,
) -> None:
    """Write one room as a reconstructed scene; ``sparse/0`` comes last.

    Args:
        root: Folder of the scene.
        seed: Seed of the world.
        index: Number of the room.
        num_views: Number of views.
        size_hw: Image height and width, pixels.
        points_per_view: Pixels per view from which points are made.

    Raises:
        FolderError: The folder holds another scene.
        EaglerayError: The folder cannot be written.
        SettingsError: The views do not fit in a worker's memory.
    """
    _check_size(num_views, size_hw)
    recipe = {"format": "colmap", "seed": seed, "index": index, "num_views": num_views}
    recipe |= {"points_per_view": points_per_view}
    folder = DatasetFolder(root, recipe | {"size_hw": list(size_hw)})
    if folder.has(_SPARSE_NAMES):
        return
    for files in colmap_files(
        seed=seed,
        index=index,
        num_views=num_views,
        size_hw=size_hw,
        points_per_view=points_per_view,
    ):
        folder.write(files)
