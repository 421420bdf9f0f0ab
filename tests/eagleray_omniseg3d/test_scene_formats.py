"""Regions, dense depth and stereo layouts of scenes, and captures that cannot be used."""

import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.eagleray_omniseg3d.test_scenes import (
    SIZE_WH,
    orbit_poses,
    write_colmap,
    write_images,
    write_transforms,
)

from eagleray_omniseg3d.errors import MissingImageError, PoseError, SceneError
from eagleray_omniseg3d.scenes.colmap import read_colmap_scene
from eagleray_omniseg3d.scenes.mvsnet import read_mvsnet_scene
from eagleray_omniseg3d.scenes.pixels import read_view, read_view_depth
from eagleray_omniseg3d.scenes.poses import invert
from eagleray_omniseg3d.scenes.reading import read_scene, world_points, world_poses
from eagleray_omniseg3d.settings import DataSettings

NAMES = [f"v{i:02d}.png" for i in range(9)]
WIDTH, HEIGHT = SIZE_WH


def read(root, **data):
    return read_scene(DataSettings(root=str(root), **data), scale=0.5, faithful=False)


@pytest.fixture
def colmap(tmp_path):
    """A COLMAP scene, and its points in world coordinates."""
    root = tmp_path / "scene"
    points = write_colmap(root, orbit_poses(9), NAMES)
    write_images(root / "images", NAMES)
    return root, points


# ---------------------------------------------------------------------- regions of interest


def write_region(path, corners, *, binary=False):
    kind = "binary_little_endian" if binary else "ascii"
    head = f"ply\nformat {kind} 1.0\nelement vertex {len(corners)}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    text = "".join(" ".join(map(str, row)) + "\n" for row in corners.tolist())
    body = corners.astype("<f4").tobytes() if binary else text.encode()
    path.write_bytes(head.encode() + body)


@pytest.mark.parametrize("binary", [False, True])
def test_region_of_interest_gives_frame_scale_and_box(colmap, binary):
    root, points = colmap
    sides = np.array([4.0, 2.0, 1.0])
    signs = np.array(np.meshgrid(*[[-0.5, 0.5]] * 3)).reshape(3, -1).T
    turn = Rotation.from_rotvec([0.3, -0.4, 0.2]).as_matrix()
    corners = (signs * sides) @ turn.T + [0.2, -0.1, 0.4]
    write_region(root / "sparse/0/roi.ply", corners, binary=binary)
    scene = read_colmap_scene(root, downsample=1.0)
    assert scene.scale == pytest.approx(4.0, rel=1e-5)
    np.testing.assert_allclose(np.sort(scene.box[1]), [0.125, 0.25, 0.5], rtol=1e-5)
    np.testing.assert_allclose(scene.box[0], -scene.box[1])
    local = (corners @ scene.frame[:, :3].T + scene.frame[:, 3]) / scene.scale
    np.testing.assert_allclose(np.abs(local), np.broadcast_to(scene.box[1], (8, 3)), atol=1e-5)
    np.testing.assert_allclose(world_points(scene, scene.points), points, atol=1e-6)
    np.testing.assert_allclose(world_poses(scene), orbit_poses(9), atol=1e-6)


@pytest.mark.parametrize(
    "content", ["", "ply\n", "no cloud", "flat"], ids=["empty", "cut", "text", "flat"]
)
def test_region_that_spans_nothing_is_named(colmap, content):
    path = colmap[0] / "sparse/0/roi.ply"
    path.write_text(content)
    if content == "flat":
        write_region(path, np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.0]]))
    with pytest.raises(SceneError, match=r"roi\.ply"):
        read_colmap_scene(colmap[0], downsample=1.0)


def test_the_users_box_wins_over_the_region(colmap):
    root, points = colmap
    (root / "sparse/0/roi.ply").write_text("no cloud")
    scene = read(root, box=((-2.0, -1.0, -1.0), (2.0, 1.0, 1.0)))
    assert scene.scale == pytest.approx(4.0)
    np.testing.assert_allclose(world_points(scene, scene.points), points, atol=1e-9)


# ---------------------------------------------------------------------- dense depth


def write_depth_map(path, depth, *, header=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = header or f"{depth.shape[1]}&{depth.shape[0]}&1&"
    path.write_bytes(text.encode() + depth.T.astype("<f4").tobytes(order="F"))


def write_depth_maps(root, depth, folder="stereo/depth_maps"):
    for name in NAMES:
        write_depth_map(root / folder / f"{name}.geometric.bin", depth)


@pytest.mark.parametrize("folder", ["stereo/depth_maps", "dense/stereo/depth_maps"])
def test_dense_depth_is_in_scene_units(colmap, folder):
    root, _ = colmap
    depth = np.random.default_rng(0).uniform(1, 5, (HEIGHT, WIDTH)).astype(np.float32)
    write_depth_maps(root, depth, folder)
    scene = read(root, colmap_depth=True)
    found = read_view(scene, scene.views[2], faithful=False).depth
    np.testing.assert_allclose(found, depth / scene.scale, rtol=1e-6)
    box = ((-2.0, -1.0, -1.0), (2.0, 1.0, 1.0))
    boxed = read(root, colmap_depth=True, box=box)
    found = read_view(boxed, boxed.views[2], faithful=False).depth
    np.testing.assert_allclose(found, depth / 4.0, rtol=1e-6)
    assert read_view(read(root), read(root).views[2]).depth is None


def test_dense_depth_is_brought_to_the_images_size(colmap):
    root, _ = colmap
    depth = np.arange(2 * HEIGHT * 2 * WIDTH, dtype=np.float32).reshape(2 * HEIGHT, 2 * WIDTH)
    depth[::2] = 0
    write_depth_maps(root, depth)
    scene = read_colmap_scene(root, downsample=1.0, with_depth=True)
    unit = scene.depth_unit
    by_area = depth.reshape(HEIGHT, 2, WIDTH, 2).mean((1, 3)) * unit
    np.testing.assert_allclose(read_view_depth(scene, scene.views[0]), by_area, rtol=1e-5)
    nearest = read_view_depth(scene, scene.views[0], faithful=False)
    assert set(np.unique(nearest)) <= set(np.unique(np.float32(depth * unit)))


def test_dense_depth_that_is_not_there_is_named(colmap):
    root, _ = colmap
    with pytest.raises(MissingImageError, match="no depth maps"):
        read(root, colmap_depth=True)
    write_depth_maps(root, np.ones((HEIGHT, WIDTH)))
    (root / f"stereo/depth_maps/{NAMES[4]}.geometric.bin").unlink()
    with pytest.raises(MissingImageError, match=r"1 of 9.*v04"):
        read(root, colmap_depth=True)


@pytest.mark.parametrize(
    ("header", "shape", "message"),
    [
        ("8&6&1&", (3, 4), "bytes of values"),
        ("8&6&3&", (6, 8), "one channel"),
        ("8&six&1&", (6, 8), "no depth map"),
        ("", (0, 0), "no depth map"),
        (None, (8, 6), "does not fit"),
    ],
    ids=["cut short", "channels", "letters", "empty", "other proportions"],
)
def test_dense_depth_that_cannot_be_used(colmap, header, shape, message):
    root, _ = colmap
    write_depth_maps(root, np.ones((HEIGHT, WIDTH)))
    path = root / f"stereo/depth_maps/{NAMES[0]}.geometric.bin"
    write_depth_map(path, np.ones(shape), header=header)
    if header == "":
        path.write_bytes(b"")
    scene = read(root, colmap_depth=True)
    with pytest.raises(SceneError, match=message):
        read_view_depth(scene, scene.views[0])


def test_unknown_depths_are_zero(colmap):
    root, _ = colmap
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depth[0, :3] = np.nan, np.inf, -np.inf
    write_depth_maps(root, depth)
    scene = read(root, colmap_depth=True)
    found = read_view_depth(scene, scene.views[0], faithful=False)
    assert found[0, :3].tolist() == [0, 0, 0] and np.isfinite(found).all()


# ---------------------------------------------------------------------- stereo layout


def write_stereo(root, poses, *, intrinsics=None, depth=None):
    write_images(root / "images_4", NAMES)
    (root / "cams_4").mkdir(exist_ok=True)
    for name, pose in zip(NAMES, poses, strict=True):
        rows = [" ".join(map(str, row)) for row in invert(pose).tolist()]
        text = "\n".join(["extrinsic", *rows, "0 0 0 1", "", "intrinsic", "..."])
        (root / "cams_4" / f"{name[:-4]}_cam.txt").write_text(text)
    matrix = np.array([[9.0, 0, 4], [0, 9.5, 3], [0, 0, 1]]) if intrinsics is None else intrinsics
    np.savetxt(root / "intrinsics.txt", matrix)
    (root / "aabb.txt").write_text("-2 -1 -1\n2 1 1\n")
    for name in NAMES if depth is not None else ():
        (root / "depth_4").mkdir(exist_ok=True)
        cv2.imwrite(str(root / "depth_4" / f"{name[:-4]}.pfm"), depth)


def test_stereo_layout(tmp_path):
    poses = orbit_poses(9)
    depth = np.random.default_rng(1).uniform(1, 4, (HEIGHT, WIDTH)).astype(np.float32)
    write_stereo(tmp_path, poses, depth=depth)
    scene = read(tmp_path, format="mvsnet")
    assert scene.scale == pytest.approx(1.2 * 4) and scene.splits["test"] == (3,)
    assert 3 not in scene.splits["train"] and len(scene.splits["train"]) == 8
    np.testing.assert_allclose(world_poses(scene), poses, atol=1e-9)
    np.testing.assert_allclose(scene.box * scene.scale + scene.shift, [[-2, -1, -1], [2, 1, 1]])
    assert scene.size_hw == (HEIGHT, WIDTH) and scene.camera_matrix[0, 0] == 9.0
    found = read_view(scene, scene.views[1], faithful=False).depth
    np.testing.assert_allclose(found, depth / scene.scale, rtol=1e-6)


def test_stereo_intrinsics_of_the_originals_are_reduced(tmp_path):
    large = np.eye(4)
    large[:3, :3] = np.array([[36.0, 0, 16], [0, 38.0, 12], [0, 0, 1]])
    write_stereo(tmp_path, orbit_poses(9), intrinsics=large)
    scene = read_mvsnet_scene(tmp_path)
    np.testing.assert_allclose(scene.camera_matrix, [[9.0, 0, 4], [0, 9.5, 3], [0, 0, 1]])
    write_stereo(tmp_path, orbit_poses(9), intrinsics=large * 9)
    with pytest.raises(SceneError, match="principal point"):
        read_mvsnet_scene(tmp_path)


def test_stereo_files_that_cannot_be_used(tmp_path):
    with pytest.raises(MissingImageError, match="images_4"):
        read(tmp_path, format="mvsnet")
    write_stereo(tmp_path, orbit_poses(9))
    camera = tmp_path / "cams_4" / "v02_cam.txt"
    kept = camera.read_text()
    camera.write_text("extrinsic\n1 0 0 0\n0 nan 0 0\n0 0 1 0\n")
    with pytest.raises(PoseError, match="v02"):
        read_mvsnet_scene(tmp_path)
    camera.write_text("extrinsic\n1 0 0 0\n")
    with pytest.raises(PoseError, match="lines 2 to 4"):
        read_mvsnet_scene(tmp_path)
    camera.unlink()
    with pytest.raises(MissingImageError, match=r"no camera of v02\.png"):
        read_mvsnet_scene(tmp_path)
    camera.write_text(kept)
    (tmp_path / "aabb.txt").write_text("1 1 1 0 0 0")
    with pytest.raises(SceneError, match="lower corner first"):
        read_mvsnet_scene(tmp_path)


# ---------------------------------------------------------------------- captures that cannot be


def replica_values(**changes):
    frames = [{"transform_matrix": np.eye(4).tolist()} for _ in range(40)]
    values = {"aabb": [[-1, -1, -1], [1, 1, 1]], "w": 8, "h": 6, "fl_x": 6.5, "fl_y": 6.6}
    return values | {"integer_depth_scale": 1e-3, "frames": frames} | changes


def write_replica(root, **changes):
    (root / "transforms_train.json").write_text(json.dumps(replica_values(**changes)))
    write_images(root / "rgb", [f"f{i}.jpg" for i in range(4)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aabb": [[0, 0, 0], [0, 0, 0]]}, "bounding box"),
        ({"aabb": [[0, 0, float("nan")], [1, 1, 1]]}, "bounding box"),
        ({"aabb": [1, 2, 3]}, "upper corner"),
        ({"frames": []}, "no frames"),
        ({"fl_x": 0.0}, "cannot be used"),
        ({"fl_x": float("nan")}, "cannot be used"),
        ({"h": 0}, "cannot be used"),
        ({"w": "wide"}, "missing or wrong"),
    ],
)
def test_replica_numbers_that_cannot_be_used(tmp_path, changes, message):
    write_replica(tmp_path, **changes)
    with pytest.raises(SceneError, match=message):
        read(tmp_path, format="replica")


def test_nan_in_poses_is_named_in_every_format(tmp_path):
    poses = orbit_poses(9)
    poses[4, 1, 3] = np.nan
    write_colmap(tmp_path / "binary", poses, NAMES)
    write_images(tmp_path / "binary/images", NAMES)
    with pytest.raises(PoseError, match=r"v04\.png.*not finite"):
        read(tmp_path / "binary")
    write_colmap(tmp_path / "text", poses, NAMES, text=True)
    with pytest.raises(PoseError, match=r"v04\.png.*not finite"):
        read(tmp_path / "text")
    (tmp_path / "json").mkdir()
    write_transforms(tmp_path / "json", poses, NAMES)
    with pytest.raises(PoseError, match=r"v04\.png.*not finite"):
        read(tmp_path / "json", format="transforms")
    frames = replica_values()["frames"]
    frames[20] = {"transform_matrix": np.full((4, 4), np.nan).tolist()}
    (tmp_path / "replica").mkdir()
    write_replica(tmp_path / "replica", frames=frames)
    with pytest.raises(PoseError, match="frame 20"):
        read(tmp_path / "replica", format="replica")


def test_zero_training_views_are_named(tmp_path):
    write_colmap(tmp_path, orbit_poses(1), NAMES[:1])
    write_images(tmp_path / "images", NAMES[:1])
    scene = read(tmp_path)
    with pytest.raises(SceneError, match="no views in split 'train'"):
        scene.poses("train")


def test_a_model_without_images_or_points_is_named(colmap):
    root, _ = colmap
    (root / "sparse/0/points3D.bin").write_bytes(struct.pack("<Q", 0))
    with pytest.raises(SceneError, match=r"no points.*data\.box"):
        read(root)
    boxed = read(root, box=((-2.0, -1.0, -1.0), (2.0, 1.0, 1.0)))
    np.testing.assert_allclose(world_poses(boxed), orbit_poses(9), atol=1e-9)
    (root / "sparse/0/images.bin").write_bytes(struct.pack("<Q", 0))
    with pytest.raises(SceneError, match="no registered images"):
        read(root)


def test_points_that_are_not_finite_are_left_out(colmap):
    root, points = colmap
    path = root / "sparse/0/points3D.bin"
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack("<d", np.nan)
    path.write_bytes(content)
    scene = read(root)
    np.testing.assert_allclose(world_points(scene, scene.points), points[1:], atol=1e-6)


def test_images_that_share_a_name_are_refused(tmp_path):
    names = ["a.png", "a.jpg", *NAMES[2:]]
    write_colmap(tmp_path, orbit_poses(9), names)
    write_images(tmp_path / "images", names)
    with pytest.raises(SceneError, match="called a"):
        read(tmp_path)


def test_downsampling_to_nothing_is_refused(colmap):
    with pytest.raises(SceneError, match="0 x 0 pixels"):
        read(colmap[0], downsample=0.01)


def test_a_camera_at_the_origin_of_a_synthetic_scene_is_named(tmp_path):
    pose = np.eye(4).tolist()
    frames = [{"file_path": "./r_0", "transform_matrix": pose}]
    values = {"camera_angle_x": 0.7, "frames": frames}
    (tmp_path / "transforms_train.json").write_text(json.dumps(values))
    write_images(tmp_path, ["r_0.png"])
    with pytest.raises(PoseError, match="stands at the origin"):
        read(tmp_path, format="nerf_synthetic")


def test_cameras_that_look_from_where_all_look_need_a_box(tmp_path):
    poses = orbit_poses(9)
    poses[0, :, 3] = 0
    write_transforms(tmp_path, poses, NAMES)
    write_images(tmp_path / "images", NAMES)
    box = ((-2.0, -1.0, -1.0), (2.0, 1.0, 1.0))
    scene = read(tmp_path, format="transforms", box=box)
    np.testing.assert_allclose(world_poses(scene), poses, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no image", zlib.compress(b"x")])
def test_an_image_that_cannot_be_read_is_named(colmap, content):
    root, _ = colmap
    (root / "images" / NAMES[3]).write_bytes(content)
    scene = read(root)
    with pytest.raises(MissingImageError, match="v03"):
        read_view(scene, scene.views[3])


def test_depth_of_another_size_is_refused(tmp_path):
    write_replica(tmp_path)
    (tmp_path / "depth").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / "depth" / f"d{i}.png"), np.ones((5, 8), np.uint16))
    scene = read(tmp_path, format="replica")
    with pytest.raises(SceneError, match=r"\(6, 8\).*found \(5, 8\)"):
        read_view_depth(scene, scene.views[0])
