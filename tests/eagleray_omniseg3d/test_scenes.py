"""Scene readers on small scenes written here, and on the captured fox scene where it is at hand."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from eagleray_omniseg3d.errors import (
    CameraModelError,
    ColmapFileError,
    MaskError,
    MissingImageError,
    PoseError,
    SceneError,
)
from eagleray_omniseg3d.masks.hierarchy import Hierarchy
from eagleray_omniseg3d.scenes.colmap import read_colmap_scene
from eagleray_omniseg3d.scenes.colmap_model import read_model
from eagleray_omniseg3d.scenes.pixels import fit_hierarchy, read_view, read_view_rgb
from eagleray_omniseg3d.scenes.poses import check_world_from_cam, invert, rotation_from_axis_angle
from eagleray_omniseg3d.scenes.transforms import read_synthetic_scene, read_transforms_scene

SIZE_WH = (8, 6)


def orbit_poses(count, radius=3.0):
    """Camera-to-world, axes right, down, forward; all look at the origin."""
    poses = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        eye = radius * np.array([np.cos(angle), np.sin(angle), 0.3])
        z = -eye / np.linalg.norm(eye)
        x = np.cross(z, [0, 0, 1.0])
        x /= np.linalg.norm(x)
        poses.append(np.column_stack([x, np.cross(z, x), z, eye]))
    return np.array(poses)


def write_images(folder, names, value=100):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        pixels = np.full((SIZE_WH[1], SIZE_WH[0], 3), value + i, np.uint8)
        Image.fromarray(pixels).save(folder / name)


def write_colmap(root, poses, names, *, text=False, model=1, parameters=(9.0, 9.5, 4.0, 3.0)):
    folder = root / "sparse" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    points = np.random.default_rng(0).normal(size=(5, 3))
    quaternions = [
        Rotation.from_matrix(cam[:, :3]).as_quat()[[3, 0, 1, 2]] for cam in map(invert, poses)
    ]
    shifts = [cam[:, 3] for cam in map(invert, poses)]
    if text:
        label = {1: "PINHOLE", 2: "SIMPLE_RADIAL"}[model]
        lines = ["# cameras", " ".join(map(str, [1, label, *SIZE_WH, *parameters]))]
        (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
        lines = ["# two lines per image"]
        for i, name in enumerate(names):
            values = [i + 1, *quaternions[i], *shifts[i], 1, name]
            lines += [" ".join(map(str, values)), "1.5 2.5 -1" if i % 2 else ""]
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        lines = [" ".join(map(str, [i + 1, *p, 1, 2, 3, 0.5, 1, 0])) for i, p in enumerate(points)]
        (folder / "points3D.txt").write_text("\n".join(lines) + "\n")
        return points
    cameras = struct.pack("<Q", 1) + struct.pack("<iiQQ", 1, model, *SIZE_WH)
    cameras += struct.pack(f"<{len(parameters)}d", *parameters)
    images = struct.pack("<Q", len(names))
    for i, name in enumerate(names):
        images += struct.pack("<i7di", i + 1, *quaternions[i], *shifts[i], 1)
        images += name.encode() + b"\0" + struct.pack("<Qddq", 1, 1.5, 2.5, -1)
    cloud = struct.pack("<Q", len(points))
    for i, p in enumerate(points):
        cloud += struct.pack("<Q3d3Bd", i + 1, *p, 1, 2, 3, 0.5) + struct.pack("<Qii", 1, 1, 0)
    for name, content in (("cameras", cameras), ("images", images), ("points3D", cloud)):
        (folder / f"{name}.bin").write_bytes(content)
    return points


@pytest.fixture
def names():
    return [f"v{i:02d}.png" for i in range(9)]


def test_binary_and_text_models_are_the_same(tmp_path, names):
    poses = orbit_poses(9)
    points = write_colmap(tmp_path / "b", poses, names)
    write_colmap(tmp_path / "t", poses, names, text=True)
    binary, text = read_model(tmp_path / "b/sparse/0"), read_model(tmp_path / "t/sparse/0")
    np.testing.assert_allclose(binary.points, points)
    np.testing.assert_allclose(text.points, points)
    for a, b, pose in zip(binary.images, text.images, poses, strict=True):
        assert a.name == b.name
        np.testing.assert_allclose(a.world_from_cam, pose, atol=1e-9)
        np.testing.assert_allclose(b.world_from_cam, pose, atol=1e-9)
    assert binary.cameras == text.cameras


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_a_model_cut_short_anywhere_is_named(tmp_path, names, name):
    write_colmap(tmp_path, orbit_poses(9), names)
    path = tmp_path / "sparse/0" / f"{name}.bin"
    content = path.read_bytes()
    for size in range(0, len(content), 11):
        path.write_bytes(content[:size])
        with pytest.raises(ColmapFileError, match=rf"{name}\.bin is cut short"):
            read_model(tmp_path / "sparse/0")
    path.write_bytes(content + b"x")
    with pytest.raises(ColmapFileError, match="left over"):
        read_model(tmp_path / "sparse/0")


def test_malformed_text_and_missing_models_are_named(tmp_path, names):
    with pytest.raises(ColmapFileError, match="neither"):
        read_model(tmp_path)
    write_colmap(tmp_path, orbit_poses(9), names, text=True)
    path = tmp_path / "sparse/0/images.txt"
    lines = path.read_text().split("\n")
    lines[1] = " ".join(lines[1].split()[:5])
    path.write_text("\n".join(lines))
    with pytest.raises(ColmapFileError, match=r"images\.txt:2"):
        read_model(tmp_path / "sparse/0")


def test_quaternion_that_is_no_rotation(tmp_path, names):
    write_colmap(tmp_path, orbit_poses(9), names)
    path = tmp_path / "sparse/0/images.bin"
    content = bytearray(path.read_bytes())
    content[12:20] = struct.pack("<d", 7.0)
    path.write_bytes(content)
    with pytest.raises(PoseError, match="v00"):
        read_model(tmp_path / "sparse/0")


def test_images_pair_with_poses_by_name(tmp_path, names):
    poses = orbit_poses(9)
    write_colmap(tmp_path, poses, names)
    write_images(tmp_path / "images", ["unregistered.png", *names])
    scene = read_colmap_scene(tmp_path, downsample=1.0)
    assert [v.image_path.name for v in scene.views] == names
    assert scene.splits["test"] == (0, 8)
    distances = [np.linalg.norm(v.world_from_cam[:, 3]) for v in scene.views]
    assert min(distances) == pytest.approx(1.0)


def test_missing_image_is_named(tmp_path, names):
    write_colmap(tmp_path, orbit_poses(9), names)
    write_images(tmp_path / "images", names)
    (tmp_path / "images" / names[4]).unlink()
    with pytest.raises(MissingImageError, match="v04"):
        read_colmap_scene(tmp_path, downsample=1.0)


def test_downscaled_folder_is_preferred_and_others_are_resized(tmp_path, names):
    write_colmap(tmp_path, orbit_poses(9), names)
    write_images(tmp_path / "images", names)
    scene = read_colmap_scene(tmp_path, downsample=0.5)
    assert scene.views[0].image_path.parent.name == "images" and scene.size_hw == (3, 4)
    assert read_view(scene, scene.views[3]).rgb.tolist() == np.full((3, 4, 3), 103).tolist()
    write_images(tmp_path / "images_2", names)
    scene = read_colmap_scene(tmp_path, downsample=0.5)
    assert scene.views[0].image_path.parent.name == "images_2"
    np.testing.assert_allclose(scene.camera_matrix[:2], [[4.5, 0, 2], [0, 4.75, 1.5]])


def test_distortion_and_camera_kinds(tmp_path, names):
    write_images(tmp_path / "images", names)
    write_colmap(tmp_path, orbit_poses(9), names, model=2, parameters=(9.0, 4.0, 3.0, 0.1))
    assert read_colmap_scene(tmp_path, downsample=1.0).camera_matrix[1, 1] == 9.0
    with pytest.raises(CameraModelError, match="undistort"):
        read_colmap_scene(tmp_path, downsample=1.0, faithful=False)
    write_colmap(tmp_path, orbit_poses(9), names, model=5, parameters=(9.0,) * 8)
    with pytest.raises(CameraModelError, match="OPENCV_FISHEYE"):
        read_colmap_scene(tmp_path, downsample=1.0)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(4) * 2,
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.full((4, 4), np.nan),
        np.eye(3),
        [["a"] * 4] * 4,
    ],
    ids=["scaled", "mirrored", "nan", "shape", "text"],
)
def test_poses_that_are_no_rigid_transform(matrix):
    with pytest.raises(PoseError, match="camera 3"):
        check_world_from_cam(matrix, "camera 3")


def write_transforms(root, poses, names, **extra):
    frames = []
    for pose, name in zip(poses, names, strict=True):
        matrix = np.vstack([pose * [1, -1, -1, 1], [0, 0, 0, 1]])
        frames.append({"file_path": f"images/{name}", "transform_matrix": matrix.tolist()})
    values = {"w": 8, "h": 6, "fl_x": 9.0, "fl_y": 9.5, "cx": 4.0, "cy": 3.0, "frames": frames}
    root.mkdir(parents=True, exist_ok=True)
    (root / "transforms.json").write_text(json.dumps(values | extra))


def test_transforms_have_opengl_axes(tmp_path, names):
    poses = orbit_poses(9)
    write_transforms(tmp_path, poses, names)
    write_images(tmp_path / "images", names)
    scene = read_transforms_scene(tmp_path, downsample=1.0)
    for view, pose in zip(scene.views, poses, strict=True):
        np.testing.assert_allclose(view.world_from_cam[:, :3], pose[:, :3], atol=1e-12)
        world = view.world_from_cam[:, 3] * scene.scale + scene.shift
        np.testing.assert_allclose(world, pose[:, 3], atol=1e-9)
    np.testing.assert_allclose(scene.shift, 0, atol=1e-9)
    assert scene.views[2].name == "v02"


@pytest.mark.parametrize(
    ("extra", "message"),
    [({"k1": 0.1}, "distorted"), ({"frames": []}, "no frames"), ({"w": "wide"}, "intrinsics")],
)
def test_transforms_that_cannot_be_used(tmp_path, names, extra, message):
    write_transforms(tmp_path, orbit_poses(9), names, **extra)
    with pytest.raises(SceneError, match=message):
        read_transforms_scene(tmp_path, downsample=1.0)


def test_synthetic_scene_blends_on_white_and_moves_cameras(tmp_path):
    pose = np.vstack([orbit_poses(1)[0] * [1, -1, -1, 1], [0, 0, 0, 1]]).tolist()
    values = {"camera_angle_x": 0.8}
    for split in ("train", "test"):
        frames = [{"file_path": f"./{split}/r_0", "transform_matrix": pose}]
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps(values | {"frames": frames}))
        (tmp_path / split).mkdir()
        rgba = np.zeros((800, 800, 4), np.uint8)
        rgba[:400, :, 0], rgba[:400, :, 3] = 255, 255
        Image.fromarray(rgba).save(tmp_path / split / "r_0.png")
    scene = read_synthetic_scene(tmp_path, downsample=0.01)
    rgb = read_view_rgb(scene, scene.views[0])
    assert rgb.shape == (8, 8, 3)
    assert rgb[0, 0].tolist() == [1, 0, 0] and rgb[-1, 0].tolist() == [1, 1, 1]
    assert scene.splits == {"train": (0,), "test": (1,)}
    assert np.linalg.norm(scene.views[0].world_from_cam[:, 3]) == pytest.approx(1.5)
    assert scene.camera_matrix[0, 0] == pytest.approx(4 / np.tan(0.4))


def test_hierarchy_of_other_proportions_is_refused():
    hierarchy = Hierarchy(np.zeros((10, 20), np.int16), np.zeros((1, 1), np.uint8))
    assert fit_hierarchy(hierarchy, (5, 10), "a").indices.shape == (5, 10)
    with pytest.raises(MaskError, match="do not fit"):
        fit_hierarchy(hierarchy, (10, 10), "a")


def test_axis_angle_is_differentiable_at_zero():
    import torch

    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_from_axis_angle, zero)
    vector = np.array([0.3, -0.2, 0.5])
    found = rotation_from_axis_angle(torch.from_numpy(vector))
    np.testing.assert_allclose(found, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)


fox = pytest.mark.skipif(
    "EAGLERAY_DATA" not in os.environ, reason="EAGLERAY_DATA does not name the data folder"
)


@fox
def test_both_pose_files_of_the_fox_agree():
    root = Path(os.environ["EAGLERAY_DATA"]) / "fox_scene"
    colmap = read_colmap_scene(root, downsample=0.25, faithful=False)
    transforms = read_transforms_scene(root, downsample=0.25)
    assert [v.name for v in colmap.views] == [v.name for v in transforms.views]
    assert colmap.size_hw == transforms.size_hw == (237, 133)
    np.testing.assert_allclose(colmap.camera_matrix, transforms.camera_matrix, rtol=1e-6)
    frame = invert(colmap.frame)
    for a, b in zip(colmap.views, transforms.views, strict=True):
        world = b.world_from_cam.copy()
        world[:, 3] = world[:, 3] * transforms.scale + transforms.shift
        pose = a.world_from_cam.copy()
        pose[:, 3] *= colmap.scale
        back = frame[:, :3] @ pose
        back[:, 3] += frame[:, 3]
        np.testing.assert_allclose(back, world, atol=1e-5)
