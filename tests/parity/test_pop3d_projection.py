"""Lidar points onto photographs against the original, to the pixel."""

from pathlib import Path

import numpy as np
import pytest
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401

from eagleray_vision.driving.key_frame import CameraTime, KeyFrame, SensorTime
from eagleray_vision.driving.pose import SensorPose
from eagleray_vision.driving.projection import project_frame


def pose(case: EveryKey, name: str) -> SensorPose:
    return SensorPose(tuple(case[f"{name}_rotation"]), tuple(case[f"{name}_translation"]))


def key_frame(case: EveryKey) -> KeyFrame:
    cameras = tuple(
        CameraTime(
            name,
            0,
            pose(case, f"{name}/cs"),
            pose(case, f"{name}/ego"),
            name=name,
            intrinsic=tuple(case[f"{name}/intrinsic"].ravel()),
        )
        for name in map(str, case["camera_order"])
    )
    lidar = SensorTime("lidar", 0, pose(case, "lidar_cs"), pose(case, "lidar_ego"))
    return KeyFrame(token="t", scene="", split="", timestamp_us=0, lidar=lidar, cameras=cameras)


@pytest.mark.parametrize("path", cases("pop3d", "projection"), ids=lambda p: p.stem)
def test_projection(path: Path) -> None:
    case = EveryKey(path, __name__)
    frame = key_frame(case)
    size = tuple(int(side) for side in case["image_hw"])
    found = project_frame(frame, case["sweep"], {one.name: size for one in frame.cameras})
    assert sum(map(len, (one.points for one in found.values()))) > 0
    for camera in frame.cameras:
        name = camera.name
        assert np.array_equal(found[name].points, case[f"{name}/points"])
        assert np.array_equal(found[name].pixels, case[f"{name}/pixels"])
        sensor2lidar = np.linalg.inv(frame.camera_from_lidar(camera))
        np.testing.assert_allclose(sensor2lidar, case[f"{name}/sensor2lidar"], rtol=1e-9, atol=1e-9)
        image_from_lidar = frame.image_from_lidar(camera)
        np.testing.assert_allclose(
            image_from_lidar, case[f"{name}/lidar2img"], rtol=1e-8, atol=1e-6
        )
