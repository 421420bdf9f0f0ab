"""Streets as nuScenes sees them: six cameras and a lidar, each at its own time.

    samples/<sensor>/..., sweeps/LIDAR_TOP/...      pictures, sweeps (x, y, z, intensity, ring)
    lidarseg/<version>/<token>_lidarseg.bin         raw ids of the 32 categories
    retrieval_benchmark/annotations/, matching_points/   POP-3D's queries
    gts/<scene>/<token>/labels.npz                  Occ3D's voxels, where they are asked for
    <version>/*.json, maps/                         tables (``nuscenes_tables.py``)

The lidar of nuScenes looks along y: x right, y forward, z up.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eagleray_toyworld.formats.occ3d import View, occ3d_file
from eagleray_toyworld.rendering.camera import SIX_CAMERA_RIG, Pinhole, pinhole_with_fov
from eagleray_toyworld.rendering.lidar import LidarSweep, SpinningLidar
from eagleray_toyworld.rendering.lidar import sweep as lidar_sweep
from eagleray_toyworld.rendering.render import render
from eagleray_toyworld.scene.paint import object_color
from eagleray_toyworld.scene.pose import Pose, camera_at
from eagleray_toyworld.scene.scene import Scene, SceneObject
from eagleray_toyworld.scene.shape import corners
from eagleray_toyworld.scene.words import object_word
from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.lidarseg import RAW_NAMES, evaluated_classes
from eagleray_vision.driving.nuscenes import CAMERAS, LIDAR
from eagleray_vision.driving.pose import SensorPose, pose_of_matrix
from eagleray_vision.driving.projection import project_frame

CATEGORY_OF_CLASS: Mapping[str, str] = {
    "road": "flat.driveable_surface",
    "sidewalk": "flat.sidewalk",
    **dict.fromkeys(
        ("building", "wall", "fence", "pole", "traffic light", "traffic sign"), "static.manmade"
    ),
    "vegetation": "static.vegetation",
    "terrain": "flat.terrain",
    "person": "human.pedestrian.adult",
    "rider": "vehicle.bicycle",
    "bicycle": "vehicle.bicycle",
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "motorcycle": "vehicle.motorcycle",
    "static": "static.other",
    "barrier": "movable_object.barrier",
    "traffic cone": "movable_object.trafficcone",
    "trailer": "vehicle.trailer",
    "construction vehicle": "vehicle.construction",
}
"""Official category of each class of the street; riders count to their vehicle, as in nuScenes."""
_ORIGIN = (100.0, 100.0, 0.0)
"""Where the street's origin lies on the map, meters: coordinates of nuScenes are positive."""
_FIRST_US = 1_600_000_000_000_000
_SCENE_US = 60_000_000
_TURN_S = 0.05
"""Cameras are triggered as the lidar, which takes this long for a turn, passes their direction."""
_SWEEP_STEP_S = 0.1
_JPEG_QUALITY = 95
_LEAST_POINTS = 12
"""Points of an object that is asked for."""
_EGO_FROM_LIDAR_AXES = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""nuScenes' lidar axes (right, forward, up) to the vehicle's (forward, left, up)."""


@dataclass(frozen=True, kw_only=True)
class SampleName:
    """Which key frame of which data set.

    Attributes:
        version: Folder of the tables.
        scene: Official name of the scene.
        split: Official split.
        seed: Seed of the world.
        scene_idx: Number of the street.
        frame_idx: Number of the key frame within the scene.
        frame_step_s: Time between key frames, seconds.
    """

    version: str
    scene: str
    split: str
    seed: int
    scene_idx: int
    frame_idx: int
    frame_step_s: float

    def token(self, *what: object) -> str:
        """Return 32 hexadecimal digits, the same for the same name."""
        text = "/".join(map(str, (self.version, self.seed, self.scene, *what)))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def sample_token(self) -> str:
        """Token of the key frame."""
        return self.token("sample", self.frame_idx)

    def time_us(self, time_s: float) -> int:
        """Return a time of the scene as the tables state it."""
        return _FIRST_US + _SCENE_US * self.scene_idx + round(1e6 * time_s)


def sample_files(
    scene: Scene,
    name: SampleName,
    *,
    size_hw: tuple[int, int],
    num_sweeps: int = 0,
    lidar: SpinningLidar | None = None,
    occ3d: bool = False,
) -> tuple[dict[str, bytes], KeyFrame, dict[str, Any]]:
    """Render one key frame.

    Args:
        scene: The street.
        name: What the key frame is called.
        size_hw: Height and width of the photographs.
        num_sweeps: Sweeps between the key frame before and this one; none before the first.
        lidar: The sensor; by default one like that of nuScenes.
        occ3d: Also write the truth in voxels, where there are labels.

    Returns:
        Files by relative path, the key frame, and what only tables state: boxes and queries.
    """
    sensor = lidar or SpinningLidar()
    time_s = name.frame_idx * name.frame_step_s
    files: dict[str, bytes] = {}
    sweep = lidar_sweep(scene, sensor, time_s=time_s)
    lidar_time = _lidar_file(files, scene, name, sensor, time_s, "samples", sweep)
    taken = [_camera_file(files, scene, name, one, time_s, size_hw) for one in CAMERAS]
    cameras, views = zip(*taken, strict=True)
    sweeps, observing = [], [sweep]
    for k in range(1, num_sweeps + 1 if name.frame_idx else 1):
        before_s = time_s - k * _SWEEP_STEP_S
        earlier = lidar_sweep(scene, sensor, time_s=before_s)
        observing.append(earlier)
        sweeps.append(_lidar_file(files, scene, name, sensor, before_s, "sweeps", earlier))
    raw = raw_labels(scene, sweep.object_id)
    is_labeled = not name.version.endswith("test")
    label_path = f"lidarseg/{name.version}/{lidar_token(name)}_lidarseg.bin" if is_labeled else ""
    if is_labeled:
        files[label_path] = raw.tobytes()
    if is_labeled and occ3d:
        numbers = np.arange(len(scene.objects) + 1, dtype=np.int32)
        classes = evaluated_classes(raw_labels(scene, numbers))
        path = f"gts/{name.scene}/{name.sample_token}/labels.npz"
        files[path] = occ3d_file(scene, classes, time_s, observing, views)
    frame = KeyFrame(
        token=name.sample_token,
        scene=name.scene,
        split=name.split,
        timestamp_us=lidar_time.timestamp_us,
        lidar=lidar_time,
        cameras=cameras,
        sweeps=tuple(sweeps),
        lidarseg_path=label_path,
    )
    extra = {
        "annotations": _annotations(scene, sweep, time_s) if is_labeled else [],
        "queries": _queries(files, scene, sweep, frame, size_hw),
    }
    return files, frame, extra


def lidar_token(name: SampleName) -> str:
    """Return the token of a key frame's sweep."""
    return name.token("data", name.frame_idx, LIDAR)


def raw_labels(scene: Scene, object_id: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the raw lidarseg ids of objects; 0 (noise) where there is none.

    Args:
        scene: The street.
        object_id: Any shape.
    """
    table = np.zeros(len(scene.objects) + 1, dtype=np.uint8)
    for item in scene.objects:
        category = CATEGORY_OF_CLASS[item.street_class.name]
        table[item.object_id] = RAW_NAMES.index(category)
    return table[object_id]


def camera_at_time(
    scene: Scene, channel: str, time_s: float, size_hw: tuple[int, int]
) -> tuple[Pinhole, float]:
    """Return a camera of the rig where it is when it is triggered, and that time in seconds."""
    mount = SIX_CAMERA_RIG[channel]
    own_s = time_s + _TURN_S * mount.ego_from_body.yaw_rad / (2.0 * np.pi)
    world = scene.ego_at(own_s).matrix @ camera_at(mount.ego_from_body)
    return pinhole_with_fov(size_hw, mount.horizontal_fov_deg, world), own_s


def _camera_file(
    files: dict[str, bytes],
    scene: Scene,
    name: SampleName,
    channel: str,
    time_s: float,
    size_hw: tuple[int, int],
) -> tuple[CameraTime, View]:
    camera, own_s = camera_at_time(scene, channel, time_s, size_hw)
    rendered = render(scene, camera, time_s=own_s)
    picture = rendered.rgb
    path = f"samples/{channel}/{name.scene}__{channel}__{name.time_us(own_s)}.jpg"
    _, content = cv2.imencode(
        ".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    files[path] = content.tobytes()
    (fx, fy), (cx, cy) = camera.focal_px, camera.center_px
    # nuScenes counts pixels from the center of the first one, the toy world from its corner.
    intrinsic = (fx, 0.0, cx - 0.5, 0.0, fy, cy - 0.5, 0.0, 0.0, 1.0)
    mount = SIX_CAMERA_RIG[channel].ego_from_body
    taken = CameraTime(
        path,
        name.time_us(own_s),
        pose_of_matrix(camera_at(mount), channel),
        _world_from_ego(scene, own_s),
        name=channel,
        intrinsic=intrinsic,
        size_hw=size_hw,
    )
    return taken, View(camera, rendered.depth_m)


def _lidar_file(
    files: dict[str, bytes],
    scene: Scene,
    name: SampleName,
    sensor: SpinningLidar,
    time_s: float,
    folder: str,
    sweep: LidarSweep,
) -> SensorTime:
    path = f"{folder}/{LIDAR}/{name.scene}__{LIDAR}__{name.time_us(time_s)}.pcd.bin"
    points = sweep.points_m @ _EGO_FROM_LIDAR_AXES.astype(np.float32)
    columns = [points, sweep.intensity[:, None], sweep.ring[:, None]]
    files[path] = np.concatenate(columns, axis=1).astype("<f4").tobytes()
    mount = sensor.ego_from_sensor.matrix
    mount[:3, :3] = mount[:3, :3] @ _EGO_FROM_LIDAR_AXES
    calibration = pose_of_matrix(mount, LIDAR)
    return SensorTime(path, name.time_us(time_s), calibration, _world_from_ego(scene, time_s))


def _world_from_ego(scene: Scene, time_s: float) -> SensorPose:
    return _on_map(scene.ego_at(time_s))


def _on_map(pose: Pose) -> SensorPose:
    matrix = pose.matrix
    matrix[:3, 3] += _ORIGIN
    return pose_of_matrix(matrix, "toy world")


def _annotations(scene: Scene, sweep: LidarSweep, time_s: float) -> list[dict[str, Any]]:
    """Return the boxes of things that the lidar meets."""
    counts = np.bincount(sweep.object_id, minlength=len(scene.objects) + 1)
    boxes = []
    for item in scene.objects:
        if not item.street_class.is_thing or item.street_class.name == "rider":
            continue
        if count := int(counts[item.object_id]):
            center, size = _bounds(item)
            pose = item.pose_at(time_s)
            middle = pose.rotation @ center + pose.position_m + _ORIGIN
            boxes.append(
                {
                    "object_id": item.object_id,
                    "category": CATEGORY_OF_CLASS[item.street_class.name],
                    "translation": middle.tolist(),
                    "size": [size[1], size[0], size[2]],
                    "rotation": list(_on_map(pose).rotation_wxyz),
                    "num_lidar_pts": count,
                    "is_moving": item.motion.speed_mps > 0,
                }
            )
    return boxes


def _bounds(item: SceneObject) -> tuple[NDArray[np.float64], list[float]]:
    """Return middle and length, width, height of an object in its own frame."""
    ends = np.concatenate(
        [
            corners(part.shape) @ part.pose.rotation.T + np.array(part.pose.position_m)
            for part in item.parts
        ]
    )
    low, high = ends.min(axis=0), ends.max(axis=0)
    return 0.5 * (low + high), (high - low).tolist()


def _queries(
    files: dict[str, bytes],
    scene: Scene,
    sweep: LidarSweep,
    frame: KeyFrame,
    size_hw: tuple[int, int],
) -> list[dict[str, str]]:
    """Ask for one thing by color and kind ("yellow bus"); write what POP-3D's benchmark wants."""
    counts = np.bincount(sweep.object_id, minlength=len(scene.objects) + 1)
    texts: dict[str, list[int]] = {}
    for item in scene.objects:
        color = object_color(item)
        if item.street_class.is_thing and color:
            texts.setdefault(f"{color} {object_word(item)}", []).append(item.object_id)
    totals = {text: sum(int(counts[k]) for k in ids) for text, ids in texts.items()}
    asked = [text for text, total in totals.items() if total >= _LEAST_POINTS]
    if not asked:
        return []
    # What is rarest among all that can be seen: the hardest question.
    text = min(asked, key=lambda one: (len(texts[one]), totals[one], one))
    points = np.frombuffer(files[frame.lidar.path], dtype="<f4").reshape(-1, 5)
    matches = project_frame(frame, points, {one.name: size_hw for one in frame.cameras})
    annotation = f"annotations/{frame.token}__retrieval.npy"
    matching = f"matching_points/{frame.token}__points.npy"
    wanted = np.isin(sweep.object_id, texts[text]).astype(np.uint8)
    visible = np.concatenate([one.points for one in matches.values()])
    files[f"retrieval_benchmark/{annotation}"] = _npy(wanted)
    files[f"retrieval_benchmark/{matching}"] = _npy(visible)
    return [{"annotation": annotation, "matching": matching, "text": text}]


def _npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
