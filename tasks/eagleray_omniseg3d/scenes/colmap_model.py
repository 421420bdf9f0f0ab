"""COLMAP sparse models, binary and text: cameras, images, points.

Layout (COLMAP, "output format"): little-endian; quaternion (scalar first) and translation are
cam_from_world.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eagleray_omniseg3d.errors import (
    CameraModelError,
    ColmapFileError,
    PoseError,
    SceneError,
)
from eagleray_omniseg3d.scenes.poses import FloatArray, invert, rotation_from_quaternion

CAMERA_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
}
"""Name and number of parameters by COLMAP's model number."""
_MODEL_NUMBER = {name: number for number, (name, _) in CAMERA_MODELS.items()}
_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL")
_TWO_FOCALS = ("PINHOLE", "OPENCV")


@dataclass(frozen=True, slots=True)
class ColmapCamera:
    """One camera: model name, image size in pixels and the model's parameters."""

    camera_id: int
    model: str
    width_px: int
    height_px: int
    parameters: tuple[float, ...]

    def pinhole(self) -> tuple[FloatArray, tuple[float, ...]]:
        """Return (3, 3) intrinsics and the distortion parameters that a pinhole ignores.

        Raises:
            CameraModelError: The model has no pinhole part known here.
        """
        p = self.parameters
        if self.model in _ONE_FOCAL:
            fx, fy, cx, cy = p[0], p[0], p[1], p[2]
        elif self.model in _TWO_FOCALS:
            fx, fy, cx, cy = p[:4]
        else:
            raise CameraModelError(
                f"camera {self.camera_id} has model {self.model}; accepted are "
                f"{', '.join(_ONE_FOCAL + _TWO_FOCALS)}: undistort the images first "
                "(colmap image_undistorter)"
            )
        matrix = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        return matrix, p[3:] if self.model in _ONE_FOCAL else p[4:]


@dataclass(frozen=True, slots=True)
class ColmapImage:
    """One registered image; ``world_from_cam`` is (3, 4) float64."""

    name: str
    camera_id: int
    world_from_cam: FloatArray


@dataclass(frozen=True, slots=True)
class ColmapModel:
    """A sparse model.

    Args:
        cameras: By camera id.
        images: Sorted by name.
        points: (M, 3) float64 world coordinates, in file order; points that are not finite are
            left out.
    """

    cameras: dict[int, ColmapCamera]
    images: tuple[ColmapImage, ...]
    points: FloatArray


def read_model(folder: Path) -> ColmapModel:
    """Read a sparse model, binary if it is there, else text.

    Args:
        folder: Usually ``sparse/0``.

    Raises:
        ColmapFileError: A file is missing, cut short or malformed.
        PoseError: A quaternion is no rotation.
    """
    for suffix, read in ((".bin", _read_binary), (".txt", _read_text)):
        if (folder / f"cameras{suffix}").is_file():
            model = read(folder)
            unknown = {i.camera_id for i in model.images} - set(model.cameras)
            if unknown:
                raise ColmapFileError(
                    f"{folder}: images name cameras {sorted(unknown)}, "
                    f"but the model has {sorted(model.cameras)}"
                )
            return model
    raise ColmapFileError(f"{folder} has no COLMAP model: neither cameras.bin nor cameras.txt")


class _Cursor:
    """Reads a binary file piece by piece and says where it ended too early."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        try:
            self.content = path.read_bytes()
        except OSError as error:
            raise ColmapFileError(f"{path}: cannot be read ({error.strerror})") from error

    def take(self, format: str) -> tuple[int | float, ...]:
        size = struct.calcsize(f"<{format}")
        self._require(size)
        values = struct.unpack_from(f"<{format}", self.content, self.offset)
        self.offset += size
        return values

    def count(self, least_bytes: int) -> int:
        """Read a number of records, each of at least so many bytes."""
        (number,) = self.take("Q")
        self._require(int(number) * least_bytes)
        return int(number)

    def skip(self, size: int) -> None:
        self._require(size)
        self.offset += size

    def text(self) -> str:
        end = self.content.find(b"\0", self.offset)
        if end < 0:
            self._require(len(self.content))
        raw, self.offset = self.content[self.offset : end], end + 1
        return raw.decode(errors="replace")

    def finish(self) -> None:
        left = len(self.content) - self.offset
        if left:
            raise ColmapFileError(f"{self.path}: {left} bytes are left over; the file is damaged")

    def _require(self, size: int) -> None:
        left = len(self.content) - self.offset
        if size > left:
            raise ColmapFileError(
                f"{self.path} is cut short: {size} bytes wanted at byte {self.offset}, "
                f"{left} left; copy it again"
            )


def _read_binary(folder: Path) -> ColmapModel:
    cursor = _Cursor(folder / "cameras.bin")
    cameras = dict(_binary_camera(cursor) for _ in range(cursor.count(24)))
    cursor.finish()
    cursor = _Cursor(folder / "images.bin")
    images = [_binary_image(cursor) for _ in range(cursor.count(73))]
    cursor.finish()
    cursor = _Cursor(folder / "points3D.bin")
    points = [_binary_point(cursor) for _ in range(cursor.count(51))]
    cursor.finish()
    return _model(cameras, images, points)


def _binary_camera(cursor: _Cursor) -> tuple[int, ColmapCamera]:
    camera_id, number, width, height = (int(v) for v in cursor.take("iiQQ"))
    if number not in CAMERA_MODELS:
        raise ColmapFileError(f"{cursor.path}: camera {camera_id} has unknown model {number}")
    model, num_parameters = CAMERA_MODELS[number]
    parameters = cursor.take(f"{num_parameters}d")
    return camera_id, ColmapCamera(camera_id, model, width, height, parameters)


def _binary_image(cursor: _Cursor) -> ColmapImage:
    _, *pose, camera_id = cursor.take("i7di")
    name = cursor.text()
    cursor.skip(24 * cursor.count(24))
    return _image(name, int(camera_id), pose)


def _binary_point(cursor: _Cursor) -> tuple[float, ...]:
    _, x, y, z, *_ = cursor.take("Q3d3Bd")
    cursor.skip(8 * cursor.count(8))
    return x, y, z


def _read_text(folder: Path) -> ColmapModel:
    cameras: dict[int, ColmapCamera] = {}
    for where, words in _text_lines(folder / "cameras.txt"):
        with _line(where):
            camera_id, model = int(words[0]), words[1]
            values = tuple(float(w) for w in words[4:])
            if model not in _MODEL_NUMBER or len(values) != CAMERA_MODELS[_MODEL_NUMBER[model]][1]:
                raise ValueError(f"model {model} with {len(values)} parameters")
            size = int(words[2]), int(words[3])
            cameras[camera_id] = ColmapCamera(camera_id, model, *size, values)
    images = []
    for where, words in list(_text_lines(folder / "images.txt", keep_empty=True))[::2]:
        with _line(where):
            pose = [float(w) for w in words[1:8]]
            images.append(_image(" ".join(words[9:]), int(words[8]), pose))
    points = []
    for where, words in _text_lines(folder / "points3D.txt"):
        with _line(where):
            points.append((float(words[1]), float(words[2]), float(words[3])))
    return _model(cameras, images, points)


@contextmanager
def _line(where: str) -> Iterator[None]:
    """Turn a malformed line into an error that says where it stands."""
    try:
        yield
    except SceneError:
        raise
    except (ValueError, IndexError) as error:
        raise ColmapFileError(f"{where} is malformed: {error}") from error


def _text_lines(path: Path, *, keep_empty: bool = False) -> Iterator[tuple[str, list[str]]]:
    try:
        lines = path.read_text().split("\n")
    except OSError as error:
        raise ColmapFileError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, 1):
        is_last = number == len(lines)
        if line.startswith("#") or (not line.strip() and (is_last or not keep_empty)):
            continue
        yield f"{path}:{number}", line.split()


def _image(name: str, camera_id: int, pose: Sequence[float]) -> ColmapImage:
    if len(pose) != 7:
        raise ValueError(f"{len(pose)} pose values, 7 are needed")
    if not np.isfinite(pose).all():
        raise PoseError(f"{name}: the pose has values that are not finite")
    rotation = rotation_from_quaternion(pose[:4], name)
    cam_from_world = np.concatenate([rotation, np.array(pose[4:], np.float64)[:, None]], axis=1)
    return ColmapImage(name, camera_id, invert(cam_from_world))


def _model(
    cameras: dict[int, ColmapCamera],
    images: list[ColmapImage],
    points: Sequence[tuple[float, ...]],
) -> ColmapModel:
    ordered = tuple(sorted(images, key=lambda image: image.name))
    cloud = np.array(points, np.float64).reshape(-1, 3)
    return ColmapModel(cameras, ordered, cloud[np.isfinite(cloud).all(axis=1)])
