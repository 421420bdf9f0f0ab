"""Cube maps and perspective views against py360convert 0.1.0, as the original OPS uses it."""

from pathlib import Path

import numpy as np
import pytest
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401 (a fixture)

from eagleray_vision.sphere import (
    View,
    cube_to_panorama,
    faces_from_strip,
    panorama_to_cube,
    panorama_to_view,
    strip_from_faces,
)
from eagleray_vision.sphere.library_cube import angle_grid, face_of_pixels


@pytest.mark.parametrize("path", cases("ops", "cube_to_erp"), ids=lambda p: p.stem)
def test_cube_to_panorama(path: Path) -> None:
    case = EveryKey(path, __name__)
    faces = faces_from_strip(case["cube"])
    size = case["face_id"].shape
    longitude, latitude = angle_grid(size)
    np.testing.assert_array_equal(case["uv"][..., 0], np.tile(longitude, (size[0], 1)))
    np.testing.assert_array_equal(case["uv"][..., 1], np.tile(latitude[:, None], (1, size[1])))
    np.testing.assert_array_equal(face_of_pixels(size), case["face_id"])
    nearest = cube_to_panorama(faces, size, "nearest", faithful=True)
    np.testing.assert_array_equal(nearest, case["erp_nearest"])
    bilinear = cube_to_panorama(faces, size, "bilinear", faithful=True)
    np.testing.assert_allclose(bilinear, case["erp_bilinear"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", cases("ops", "erp_to_perspective"), ids=lambda p: p.stem)
def test_panorama_to_view(path: Path) -> None:
    case = EveryKey(path, __name__)
    panorama = case["erp"]
    views = [key.split("_")[0] for key in case if key.startswith("view") and "fov" in key]
    assert views
    for name in views:
        view = View(*map(float, case[f"{name}_fov_h_v_u_v_rot"]))
        for interpolation in ("bilinear", "nearest"):
            wanted = case[f"{name}_{interpolation}"]
            found = panorama_to_view(panorama, view, wanted.shape[:2], interpolation, faithful=True)
            np.testing.assert_array_equal(found, wanted)
    wanted = case["erp_to_cube_bilinear"]
    faces = panorama_to_cube(panorama, wanted.shape[0], faithful=True)
    np.testing.assert_array_equal(strip_from_faces(faces), wanted)
