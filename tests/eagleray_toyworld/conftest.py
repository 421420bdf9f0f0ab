import numpy as np
import pytest

from eagleray_toyworld.rendering.render import Frame, render
from eagleray_toyworld.scene.scene import Scene
from eagleray_toyworld.worlds.room import RoomPath, room_scene
from eagleray_toyworld.worlds.street import street_camera, street_scene

STREET_SIZE_HW = (160, 320)


@pytest.fixture(scope="session")
def street() -> Scene:
    return street_scene(seed=5, index=2)


@pytest.fixture(scope="session")
def street_frame(street: Scene) -> Frame:
    return render(street, street_camera(street, size_hw=STREET_SIZE_HW))


@pytest.fixture(scope="session")
def room() -> Scene:
    return room_scene(seed=5, index=1)


@pytest.fixture(scope="session")
def room_frames(room: Scene) -> list[tuple[object, Frame]]:
    path = RoomPath(num_views=12, size_hw=(120, 160))
    return [(path.camera(k), render(room, path.camera(k))) for k in range(12)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
