"""Key frames as samples: photographs, matrices, points and labels, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from eagleray.task import InputError, Settings
from eagleray_pop3d.augmentation import distort_colors, draw_colors, draw_grid_mask
from eagleray_pop3d.images import Image, fill_to, pad_images, read_photograph, rescale_view
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.voxels import Points, observed_labels, occupancy_labels
from eagleray_vision.codecs import Codes
from eagleray_vision.driving.key_frame import KeyFrame, SensorTime
from eagleray_vision.driving.lidar import read_sweep

_WHITE = 255


class ImageSettings(Settings):
    """Photographs as the network reads them."""

    scale: float = Field(
        1.0, gt=0, le=1, description="Factor of both sides of the photographs (scale_rate)."
    )
    distort: bool = Field(True, description="Distort colors in training, each camera on its own.")
    grid_mask: bool = Field(
        True, description="Mask training images by a grid (GridMask), alike for all cameras."
    )
    transfer: Literal["float32", "uint8"] = Field(
        "float32",
        description="Values that travel to the device: float32 as the original, or uint8, a "
        "quarter of the bytes, with distorted colors clipped and rounded.",
    )


class TargetSettings(Settings):
    """What voxels are to be in training."""

    unobserved: Literal["free", "ignored"] = Field(
        "free",
        description="Voxels that no ray crosses: free (paper), or left out of the losses, with "
        "free space found by the lidar's rays.",
    )
    sweeps: Annotated[int, Field(ge=0, le=50)] = Field(
        0, description="Earlier sweeps that are added to the key frame's (paper: none)."
    )


@dataclass(frozen=True)
class FrameSample:
    """One key frame.

    Attributes:
        token: Its name.
        images: ``(N, H, W, 3)`` uint8 or float32 RGB, sides multiples of 32; N cameras.
        sizes_hw: ``(N, 2)`` sizes of the photographs within ``images``, after scaling.
        photo_sizes_hw: ``(N, 2)`` sizes of the photographs themselves.
        lidar2img: ``(N, 4, 4)`` float32, lidar metres to pixels times depth.
        points: ``(n, 3)`` metres in the lidar frame, all points of the sweep.
        occupancy: ``(W, H, Z)`` uint8 labels of training; None in an evaluation.
        kept: ``(H, W)`` bool, which pixels a GridMask leaves; None for all.
        feature_rows: ``(m,)`` rows of the sweep with a target, one per point and camera.
        targets: Their ``m`` targets, encoded.
    """

    token: str
    images: Image
    sizes_hw: npt.NDArray[np.int64]
    photo_sizes_hw: npt.NDArray[np.int64]
    lidar2img: npt.NDArray[np.float32]
    points: Points
    occupancy: npt.NDArray[np.uint8] | None = None
    kept: npt.NDArray[np.bool_] | None = None
    feature_rows: npt.NDArray[np.int64] | None = None
    targets: Codes | None = None


@dataclass(frozen=True)
class FrameBatch:
    """Several key frames of rigs with as many cameras.

    Attributes:
        tokens: Names.
        images: ``(B, N, H, W, 3)``.
        sizes_hw: ``(B, N, 2)``.
        lidar2img: ``(B, N, 4, 4)``.
        occupancy: ``(B, W, H, Z)``.
        kept: ``(B, H, W)``; all True where nothing is masked.
        feature_xyz: Per sample ``(m_b, 3)`` metres of the points with targets.
        targets: Per sample ``m_b``, encoded.
    """

    tokens: tuple[str, ...]
    images: Tensor
    sizes_hw: Tensor
    lidar2img: Tensor
    occupancy: Tensor
    kept: Tensor
    feature_xyz: list[Tensor]
    targets: list[Codes]


def read_frame(
    frame: KeyFrame, root: Path, settings: ImageSettings, rng: np.random.Generator | None = None
) -> FrameSample:
    """Read the photographs and the sweep of a key frame.

    Args:
        frame: The key frame.
        root: Folder that its paths are relative to.
        settings: How photographs are read.
        rng: Draws of training; None changes nothing.

    Raises:
        InputError: A file is missing or damaged, or a photograph has another size than stated.
    """
    images, matrices, photo_sizes = [], [], []
    for camera in frame.cameras:
        image: Image = read_photograph(root, camera, frame.token)
        photo_sizes.append(image.shape[:2])
        if rng is not None and settings.distort:
            image = distort_colors(image.astype(np.float32), draw_colors(rng))
        image, matrix = rescale_view(image, frame.image_from_lidar(camera), settings.scale)
        images.append(_transferred(image, settings.transfer))
        matrices.append(matrix)
    padded, sizes_hw = pad_images(images)
    mask = None
    if rng is not None and settings.grid_mask:
        mask = draw_grid_mask((padded.shape[1], padded.shape[2]), rng)
    return FrameSample(
        frame.token,
        padded,
        sizes_hw,
        np.array(photo_sizes, dtype=np.int64),
        np.stack(matrices).astype(np.float32),
        read_sweep(root / frame.lidar.path, frame.token)[:, :3],
        kept=mask,
    )


def check_rig(frame: KeyFrame, num_cameras: int) -> None:
    """Refuse a key frame that the network has no camera slots for.

    Raises:
        InputError: It has another number of cameras.
    """
    if len(frame.cameras) != num_cameras:
        raise InputError(
            f"key frame {frame.token} has {len(frame.cameras)} cameras "
            f"({', '.join(camera.name for camera in frame.cameras)}), the network {num_cameras} "
            "slots, each with an embedding of its own: use a checkpoint that was trained on this "
            "rig, or set settings.network.encoder.num_cameras and train"
        )


def training_occupancy(
    frame: KeyFrame, points: Points, root: Path, grid: GridSettings, settings: TargetSettings
) -> npt.NDArray[np.uint8]:
    """Return the labels ``(W, H, Z)`` that training learns.

    Args:
        frame: The key frame.
        points: ``(n, 3)`` of its sweep.
        root: Folder that its paths are relative to.
        grid: Box and cells.
        settings: What voxels are to be.

    Raises:
        InputError: An earlier sweep is missing, damaged or without poses.
    """
    sweeps = [(points, np.zeros(3))]
    for earlier in _earlier(frame, settings.sweeps):
        moved = np.linalg.inv(frame.lidar.world_from_sensor) @ earlier.world_from_sensor
        xyz = read_sweep(root / earlier.path, frame.token)[:, :3]
        sweeps.append((xyz @ moved[:3, :3].T + moved[:3, 3], moved[:3, 3]))
    if settings.unobserved == "ignored":
        return observed_labels(sweeps, grid)
    return occupancy_labels(np.concatenate([xyz for xyz, _ in sweeps]), grid)


def join_frames(samples: Sequence[FrameSample]) -> FrameBatch:
    """Join key frames for training.

    Raises:
        InputError: Rigs of different numbers of cameras, or samples without labels.
    """
    cameras = {len(sample.images) for sample in samples}
    if len(cameras) > 1:
        raise InputError(
            f"key frames of {sorted(cameras)} cameras are in one batch; a network has one number "
            "of cameras: train each rig on its own"
        )
    height, width = (max(s.images.shape[axis] for s in samples) for axis in (1, 2))
    images = [fill_to(sample.images, height, width) for sample in samples]
    occupancy, masks, xyz, targets = [], [], [], []
    for sample in samples:
        if sample.occupancy is None or sample.feature_rows is None or sample.targets is None:
            raise InputError(f"key frame {sample.token} was read without targets")
        occupancy.append(sample.occupancy)
        masks.append(np.ones((height, width), dtype=np.bool_))
        if sample.kept is not None:
            masks[-1][: sample.kept.shape[0], : sample.kept.shape[1]] = sample.kept
        xyz.append(torch.from_numpy(sample.points[sample.feature_rows]))
        targets.append(sample.targets)
    return FrameBatch(
        tuple(sample.token for sample in samples),
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack([sample.sizes_hw for sample in samples])),
        torch.from_numpy(np.stack([sample.lidar2img for sample in samples])),
        torch.from_numpy(np.stack(occupancy)),
        torch.from_numpy(np.stack(masks)),
        xyz,
        targets,
    )


def _earlier(frame: KeyFrame, count: int) -> Sequence[SensorTime]:
    if count > len(frame.sweeps):
        # The first key frames of a scene have no past: fewer are taken, none is made up.
        return frame.sweeps
    return frame.sweeps[:count]


def _transferred(image: Image, kind: str) -> Image:
    if kind == "float32":
        return image.astype(np.float32, copy=False)
    if image.dtype == np.uint8:
        return image
    return np.clip(np.rint(image), 0, _WHITE).astype(np.uint8)
