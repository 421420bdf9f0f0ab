"""A spinning lidar: points with intensity, ring and exact labels.

Sensor frame: x forward, y left, z up, meters. Columns fire one after the other while the sensor
turns clockwise, so moving objects and the moving vehicle are met at different moments. Points are
given in the sensor frame of the sweep's middle, corrected for the motion of the vehicle (but not
for that of the objects), as on nuScenes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.rendering.camera import BeamGrid
from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.scene.pose import FloatArray, Pose, camera_at
from eagleray_toyworld.scene.scene import Scene

_RETRO_REFLECTANCE = 0.9
"""Materials from here on send light back to where it came from, whatever the angle."""
_HDL32_TOP_DEG, _HDL32_BOTTOM_DEG, _HDL32_BEAMS = 10.67, -30.67, 32
"""Velodyne HDL-32E data sheet: 32 beams from +10.67 to -30.67 degrees, the nuScenes lidar."""


def _hdl32_elevations() -> tuple[float, ...]:
    step = (_HDL32_TOP_DEG - _HDL32_BOTTOM_DEG) / (_HDL32_BEAMS - 1)
    return tuple(math.radians(_HDL32_TOP_DEG - step * k) for k in range(_HDL32_BEAMS))


@dataclass(frozen=True, kw_only=True)
class SpinningLidar:
    """A lidar on a vehicle's roof.

    Attributes:
        elevations_rad: Elevation of each beam, top beam first.
        num_azimuths: Firings per turn.
        period_s: Time of one turn, seconds.
        num_slices: Moments per turn at which the world is frozen; 1 = no motion within a sweep.
        max_range_m: Returns from farther away are lost, meters.
        ego_from_sensor: Where it sits on the vehicle.
    """

    elevations_rad: tuple[float, ...] = field(default_factory=_hdl32_elevations)
    num_azimuths: int = 1080
    period_s: float = 0.05
    num_slices: int = 6
    max_range_m: float = 70.0
    ego_from_sensor: Pose = field(default_factory=lambda: Pose(position_m=(0.94, 0.0, 1.84)))

    def __post_init__(self) -> None:
        """Check the slices."""
        if not 1 <= self.num_slices <= self.num_azimuths:
            raise ValueError(
                f"num_slices must lie in 1..num_azimuths ({self.num_azimuths}), "
                f"got {self.num_slices}"
            )


@dataclass(frozen=True, kw_only=True)
class LidarSweep:
    """One turn of the lidar; arrays over the n returns, ordered by firing and then by beam.

    Attributes:
        points_m: (n, 3) float32, sensor frame at the sweep's middle, meters.
        intensity: (n,) uint8, 0 dark to 255 retro-reflector.
        ring: (n,) uint8 beam number, 0 = lowest beam.
        time_offset_s: (n,) float32 firing time minus the sweep's middle, seconds.
        train_id: (n,) uint8 class; 255 = void.
        instance_id: (n,) int32 object number on things, 0 elsewhere.
        object_id: (n,) int32 object number.
        world_from_sensor: (4, 4) float64 at the sweep's middle.
    """

    points_m: NDArray[np.float32]
    intensity: NDArray[np.uint8]
    ring: NDArray[np.uint8]
    time_offset_s: NDArray[np.float32]
    train_id: NDArray[np.uint8]
    instance_id: NDArray[np.int32]
    object_id: NDArray[np.int32]
    world_from_sensor: FloatArray


def _sensor_pose(scene: Scene, lidar: SpinningLidar, time_s: float) -> FloatArray:
    return scene.ego_at(time_s).matrix @ lidar.ego_from_sensor.matrix


def _intensity(frame: Frame, incidence_cos: NDArray[np.float32]) -> NDArray[np.uint8]:
    reflectance = frame.lidar_reflectance
    seen = np.where(
        reflectance >= _RETRO_REFLECTANCE, reflectance, reflectance * (0.15 + 0.85 * incidence_cos)
    )
    return np.clip(seen * 255.0 + 0.5, 0, 255).astype(np.uint8)


def _slice_returns(
    scene: Scene, lidar: SpinningLidar, time_s: float, columns: NDArray[np.intp], offset_s: float
) -> dict[str, NDArray[np.generic]]:
    """Cast the firings of one slice and keep the returns, as columns of a table."""
    pose = _sensor_pose(scene, lidar, time_s + offset_s)
    looking = np.eye(4)
    looking[:3, :3] = camera_at(Pose())[:3, :3]
    grid = BeamGrid(
        elevations_rad=lidar.elevations_rad,
        azimuths_rad=tuple(
            2.0 * math.pi * (c + 0.5) / lidar.num_azimuths - math.pi for c in columns
        ),
        world_from_cam=pose @ looking,
    )
    frame = render(scene, grid, time_s=time_s + offset_s)
    rays = np.einsum("ij,jhw->hwi", grid.world_from_cam[:3, :3], grid.rays(slice(None)))
    world = rays * np.minimum(frame.range_m, lidar.max_range_m)[..., None] + pose[:3, 3]
    middle = _sensor_pose(scene, lidar, time_s)
    points = (world - middle[:3, 3]) @ middle[:3, :3]
    cosine = np.clip(-(rays * frame.normal).sum(axis=2), 0.0, 1.0)
    ring = np.arange(len(lidar.elevations_rad))[::-1, None] + np.zeros(len(columns), dtype=np.intp)
    table: dict[str, NDArray[np.generic]] = {
        "points_m": points.astype(np.float32),
        "intensity": _intensity(frame, cosine),
        "ring": ring.astype(np.uint8),
        "time_offset_s": np.full(frame.range_m.shape, offset_s, dtype=np.float32),
        "train_id": frame.train_id,
        "instance_id": frame.instance_id,
        "object_id": frame.object_id,
    }
    keep = (frame.range_m <= lidar.max_range_m).T
    return {name: value.swapaxes(0, 1)[keep] for name, value in table.items()}


def sweep(scene: Scene, lidar: SpinningLidar | None = None, *, time_s: float = 0.0) -> LidarSweep:
    """Turn the lidar once around.

    Args:
        scene: The scene.
        lidar: The sensor; by default one like that of nuScenes.
        time_s: Time of the sweep's middle, seconds.

    Returns:
        All returns within range.
    """
    sensor = lidar or SpinningLidar()
    slices = np.array_split(np.arange(sensor.num_azimuths), sensor.num_slices)
    tables = []
    for columns in slices:
        share = (columns[0] + columns[-1] + 1) / (2.0 * sensor.num_azimuths)
        offset_s = (float(share) - 0.5) * sensor.period_s if sensor.num_slices > 1 else 0.0
        tables.append(_slice_returns(scene, sensor, time_s, columns, offset_s))
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return LidarSweep(**joined, world_from_sensor=_sensor_pose(scene, sensor, time_s))
