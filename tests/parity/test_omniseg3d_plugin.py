"""The plugin OmniSeg3D against golden data of the original; the kernels have a file of their
own."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401

from eagleray_kernels import HashGridLayout, MarchSettings, decode_morton, encode_morton
from eagleray_omniseg3d.checkpoint_import import field_state
from eagleray_omniseg3d.click.selection import (
    Similarity,
    color_features,
    color_scores,
    feature_projection,
    prompt_at,
    select,
)
from eagleray_omniseg3d.evaluation.replica_protocol import OBJECT_IDS, area_weights, score_object
from eagleray_omniseg3d.losses import (
    GAUSSIAN_CONTRAST,
    Contrast,
    color_losses,
    contrastive_loss,
    depth_term,
    distortion_term,
    feature_losses,
)
from eagleray_omniseg3d.masks.hierarchy import build_hierarchy
from eagleray_omniseg3d.model.field import RadianceField
from eagleray_omniseg3d.model.occupancy import DENSITY_THRESHOLD, OccupancyGrid
from eagleray_omniseg3d.model.rendering import (
    PREVIEW_SAMPLES,
    PREVIEW_THRESHOLD,
    LookSettings,
    drop_hidden,
    march_training,
    render_color,
    render_features,
    render_rays,
)
from eagleray_omniseg3d.scenes.colmap import read_colmap_scene
from eagleray_omniseg3d.scenes.pixels import read_view_depth, read_view_hierarchy, read_view_rgb
from eagleray_omniseg3d.scenes.poses import circle_poses, rotation_from_axis_angle
from eagleray_omniseg3d.scenes.rays import camera_directions, world_rays
from eagleray_omniseg3d.scenes.replica import read_replica_scene, read_replica_small_scene
from eagleray_omniseg3d.settings import ReplicaProtocolSettings
from eagleray_omniseg3d.view.orbit_camera import OrbitCamera


def ids(path):
    return path.stem


def golden(path):
    return EveryKey(path, __name__)


@pytest.mark.parametrize("path", cases("omniseg3d", "hier"), ids=ids)
def test_hierarchy(path):
    case = golden(path)
    hierarchy = build_hierarchy(case["masks"])
    assert hierarchy.indices.dtype == np.int16 and hierarchy.correlation.dtype == np.uint8
    np.testing.assert_array_equal(hierarchy.indices, case["indices"])
    np.testing.assert_array_equal(hierarchy.correlation, case["correlation"])
    assert hierarchy.num_patches == case["n_patches"]
    assert (~case["masks"].any(axis=0)).any() == bool(case["has_uncovered"])


def total(terms):
    parts = [t.factor * t.sum / t.weight for t in terms.values() if float(t.weight) > 0]
    return torch.stack(parts).sum()


def assert_close(found, expected, relative):
    expected = torch.as_tensor(expected)
    scale = max(float(expected.abs().max()), 1e-30)
    torch.testing.assert_close(
        found.to(expected.dtype), expected, rtol=relative, atol=relative * scale
    )


@pytest.mark.parametrize("path", cases("omniseg3d", "contrast"), ids=ids)
def test_hierarchical_contrast(path):
    case = golden(path)
    contrast = Contrast(
        level_weight=float(case["level_weight"]),
        min_pixels=int(case["min_pixnum"]),
        use_hierarchy=bool(case["use_hierarchy"]),
    )
    ids_, table = torch.from_numpy(case["patch_ids"]), torch.from_numpy(case["correlation"])
    weight = float(case["lambda_sam"])

    features = torch.from_numpy(case["features"]).requires_grad_()
    terms = feature_losses(features, ids_, table, contrast, contrast_weight=weight)
    loss = total(terms)
    (grad,) = torch.autograd.grad(loss, features)
    assert_close(loss, case["loss_total"], 1e-4)
    assert_close(grad, case["grad_total"], 1e-4)

    loss = weight * contrastive_loss(features, ids_, table, contrast)
    (grad,) = torch.autograd.grad(loss, features)
    assert_close(loss, case["loss_contrastive_only"], 1e-4)
    assert_close(grad, case["grad_contrastive_only"], 1e-4)

    ids_present, counts = np.unique(case["patch_ids"], return_counts=True)
    is_cluster = (counts > case["min_pixnum"]) & (ids_present > 0)
    assert is_cluster.sum() == case["n_clusters"]


@pytest.mark.parametrize("path", cases("omniseg3d", "contrast_gs"), ids=ids)
def test_contrast_of_the_gaussian_version(path):
    case = golden(path)
    contrast = dataclasses.replace(
        GAUSSIAN_CONTRAST,
        level_weight=float(case["level_weight"]),
        min_pixels=int(case["min_pixnum"]),
    )
    features = torch.from_numpy(case["features"]).requires_grad_()
    ids_, table = torch.from_numpy(case["patch_ids"]), torch.from_numpy(case["correlation"])
    loss = float(case["lambda_sam"]) * contrastive_loss(features, ids_, table, contrast)
    loss.backward()
    assert_close(loss, case["loss"], 1e-4)
    assert_close(features.grad, case["grad"], 1e-4)


@pytest.mark.parametrize("path", cases("omniseg3d", "stage1_losses"), ids=ids)
def test_losses_of_the_color_phase(path):
    case = {k: torch.from_numpy(v) for k, v in golden(path).items()}
    inputs = {k: case[k].requires_grad_() for k in ("ws", "rgb", "opacity", "depth")}
    terms = color_losses(case["rgb"], case["opacity"], case["target_rgb"], opacity_weight=1e-3)
    terms["distortion"] = distortion_term(
        case["ws"], case["deltas"], case["ts"], case["rays_a"], weight=1e-3
    )
    terms["depth"] = depth_term(case["depth"], case["target_depth"][:, 0], weight=1.0)
    for name in ("rgb", "opacity", "distortion", "depth"):
        assert_close(total({name: terms[name]}), case[f"loss_{name}"], 1e-5)
    loss = total(terms)
    loss.backward()
    assert_close(loss, case["loss_total"], 1e-5)
    for name, tensor in inputs.items():
        assert_close(tensor.grad, case[f"grad_{name}"], 1e-5)


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_npz_file(path, indices, correlation):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, indices=indices, correlation=correlation)


def check_rays(scene, split, poses, rays, columns):
    """Compare poses and per-pixel columns of a split with the original's tensors."""
    numbers = scene.split(split)
    np.testing.assert_allclose(scene.poses(split), poses, rtol=1e-6, atol=1e-6)
    for number, expected in zip(numbers, rays, strict=True):
        view = scene.views[number]
        parts = [read_view_rgb(scene, view).reshape(-1, 3)]
        if "depth" in columns:
            parts.append(read_view_depth(scene, view).reshape(-1, 1))
        hierarchy = read_view_hierarchy(scene, view)
        parts.append(hierarchy.indices.reshape(-1, 1))
        np.testing.assert_allclose(np.concatenate(parts, 1), expected, rtol=1e-6, atol=1e-7)
    return numbers


def check_camera(scene, case, size_wh):
    np.testing.assert_allclose(scene.camera_matrix, case["K"], rtol=1e-6)
    assert scene.size_hw == (size_wh[1], size_wh[0])
    directions = camera_directions(torch.from_numpy(scene.camera_matrix).float(), scene.size_hw)
    if "directions" in case:
        np.testing.assert_allclose(directions, case["directions"], rtol=1e-6, atol=1e-7)
    return directions


@pytest.mark.parametrize("path", cases("omniseg3d", "colmap"), ids=ids)
def test_colmap_scene(path, tmp_path):
    case = golden(path)
    root = tmp_path / str(case["scene_dir_name"])
    (root / "sparse" / "0").mkdir(parents=True)
    for name in ("cameras", "images", "points3D"):
        (root / "sparse" / "0" / f"{name}.bin").write_bytes(case[f"{name}_bin"].tobytes())
    for i, name in enumerate(str(n) for n in case["image_names"]):
        write_png(root / str(case["image_folder"]) / name, case["images"][i])
        indices = case["indices"][i]
        size = int(indices.max()) + 1
        write_npz_file(
            root / "sam" / f"{name.split('.')[0]}.npz",
            indices,
            case["correlation_padded"][i][:size, :size],
        )
    scene = read_colmap_scene(root, downsample=float(case["downsample"]))
    directions = check_camera(scene, case, case["img_wh"])
    for split in ("train", "test"):
        numbers = check_rays(scene, split, case[f"{split}_poses"], case[f"{split}_rays"], ())
        sizes = [read_view_hierarchy(scene, scene.views[i]).num_patches for i in numbers]
        assert sizes == case[f"{split}_n_patch"].tolist()
    points = np.concatenate([scene.points, np.full((len(scene.points), 1), 1 / scene.scale)], 1)
    np.testing.assert_allclose(points, case["pts3d"], rtol=1e-6, atol=1e-6)
    height = np.stack([v.world_from_cam for v in scene.views])[:, 1, 3].mean()
    np.testing.assert_allclose(
        circle_poses(1.2, height), case["test_traj_poses"], rtol=1e-6, atol=1e-6
    )
    rays_o, rays_d = world_rays(directions, torch.from_numpy(scene.poses("test")[0]).float())
    count = len(case["rays_o_test0"])
    np.testing.assert_allclose(rays_o[:count], case["rays_o_test0"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(rays_d[:count], case["rays_d_test0"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", cases("omniseg3d", "replica"), ids=ids)
def test_replica_scene(path, tmp_path):
    case = golden(path)
    values = {key: float(case[key]) for key in ("fl_x", "fl_y", "integer_depth_scale")}
    frames = [{"transform_matrix": m.tolist()} for m in case["transform_matrices"]]
    values |= {"w": int(case["w"]), "h": int(case["h"]), "aabb": case["aabb"].tolist()}
    (tmp_path / "transforms_train.json").write_text(json.dumps(values | {"frames": frames}))
    results = tmp_path / "results"
    for i in range(len(case["rgb_every10th"])):
        write_npz_file(
            results / "sam" / f"frame{i:06d}.npz",
            case["indices_every10th"][i],
            case["correlation"],
        )
        write_png(results / "depth" / f"depth{i:06d}.png", case["depth_every10th"][i])
        # The file is named .jpg for the listing; its pixels must be exact, so they are kept as PNG.
        path_jpg = results / "rgb" / f"frame{i:06d}.jpg"
        path_jpg.parent.mkdir(exist_ok=True)
        Image.fromarray(case["rgb_every10th"][i]).save(path_jpg, format="PNG")
    scene = read_replica_scene(tmp_path)
    check_camera(scene, case, (int(case["w"]), int(case["h"])))
    np.testing.assert_allclose(scene.shift, case["shift"], rtol=1e-6)
    assert scene.scale == pytest.approx(float(case["scale"]), rel=1e-6)
    for split in ("train", "test"):
        check_rays(scene, split, case[f"{split}_poses"], case[f"{split}_rays"], ("depth",))


@pytest.mark.parametrize("path", cases("omniseg3d", "replica_small"), ids=ids)
def test_replica_small_scene(path, tmp_path):
    case = golden(path)
    np.savetxt(tmp_path / "traj_w_c.txt", case["traj_w_c"].reshape(-1, 16), fmt="%.18g")
    width, height = case["img_wh"]
    frames = range(0, len(case["traj_w_c"]), 10)
    for i, depth in zip(frames, case["depth_mm_per_frame"], strict=True):
        write_png(tmp_path / "depth" / f"depth_{i}.png", np.full((height, width), depth, np.uint16))
        (tmp_path / "rgb").mkdir(exist_ok=True)
        (tmp_path / "rgb" / f"rgb_{i}.png").touch()
    scene = read_replica_small_scene(tmp_path)
    check_camera(scene, case, case["img_wh"])
    np.testing.assert_allclose(scene.poses("train"), case["poses"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scene.poses("test"), case["poses"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scene.box[0], case["xyz_min"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scene.box[1], case["xyz_max"], rtol=1e-6, atol=1e-6)
    for view, expected in zip(scene.views, case["depth_scaled_per_frame"], strict=True):
        depth = read_view_depth(scene, view)
        np.testing.assert_allclose(depth[::97, ::89], expected, rtol=1e-6)


@pytest.mark.parametrize("path", cases("omniseg3d", "pose_utils"), ids=ids)
def test_pose_helpers(path):
    case = golden(path)
    rotations = rotation_from_axis_angle(torch.from_numpy(case["axisangle"]))
    np.testing.assert_allclose(rotations, case["R"], rtol=1e-6, atol=1e-6)
    expected = case["spheric_poses"]
    poses = circle_poses(
        float(case["spheric_radius"]), float(case["spheric_mean_h"]), len(expected)
    )
    np.testing.assert_allclose(poses, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", cases("omniseg3d", "select"), ids=ids)
def test_click_selection(path):
    case = golden(path)
    height, width = int(case["H"]), int(case["W"])
    directions = camera_directions(torch.from_numpy(case["K"]), (height, width))
    origins, rays = world_rays(directions, torch.from_numpy(case["pose"][:3]).float())
    positions = (origins + rays * torch.from_numpy(case["depth"]).reshape(-1, 1)).numpy()
    features, points = case["features"], positions.reshape(height, width, 3)
    clicks = case["clicks_xy"] if case["multi"] else case["clicks_xy"][-1:]
    prompts = [prompt_at(int(x), int(y), features, points) for x, y in clicks]
    found = select(
        features.reshape(height * width, -1),
        positions,
        prompts,
        float(case["threshold"]),
        Similarity(distance_weight=float(case["w_xyz"])),
    )
    score = found.score.reshape(height, width)
    np.testing.assert_array_equal(found.mask.reshape(height, width), case["mask"])
    np.testing.assert_allclose(score, case["score_normalised"], rtol=1e-5, atol=1e-5)
    colors = color_features(features, case["pca_matrix"])
    np.testing.assert_allclose(colors, case["pca_image"], rtol=1e-5, atol=1e-5)
    mosaic = case["mosaic"]
    np.testing.assert_allclose(mosaic[:height, :width], 1.0)
    np.testing.assert_allclose(mosaic[:height, width:], colors, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        mosaic[height:, :width], np.repeat(score[:, :, None], 3, 2), rtol=1e-5, atol=1e-5
    )
    shown = color_scores(score) / np.float32(255)
    differs = np.abs(shown - mosaic[height:, width:]).max(axis=2) > 1e-5
    # A score within a rounding of a border between two of the 256 colors may fall on either side.
    level = 255 * (1 - np.clip(score, 0, 1))
    assert not (differs & (np.abs(level - np.round(level)) > 1e-3)).any()


@pytest.mark.parametrize("path", cases("omniseg3d", "orbit_camera"), ids=ids)
def test_orbit_camera(path):
    case = golden(path)
    camera = OrbitCamera(radius=float(case["radius0"]))
    np.testing.assert_allclose(camera.world_from_cam, case["poses"][0], rtol=1e-6, atol=1e-6)
    for (kind, a, b), expected in zip(case["ops"], case["poses"][1:], strict=True):
        moves = (camera.orbit, lambda d, _: camera.zoom(d), camera.pan)  # noqa: B023
        camera = moves[kind](float(a), float(b))
        np.testing.assert_allclose(camera.world_from_cam, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", cases("omniseg3d", "pca"), ids=ids)
def test_feature_projection(path):
    case = golden(path)
    found, expected = feature_projection(case["features"]), case["projection"]
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=1e-4, atol=1e-5)
    unit = case["features"] / np.linalg.norm(case["features"], axis=1, keepdims=True)
    variances = (unit @ found).var(axis=0)
    np.testing.assert_allclose(variances, case["eigenvalues_top3"], rtol=1e-4)


class GoldenViews:
    def __init__(self, case):
        self.case = {key: case[key] for key in ("labels", "features", "xyz")}

    def labels(self, view_idx):
        return self.case["labels"][view_idx]

    def features(self, view_idx):
        return self.case["features"][view_idx]

    def positions(self, view_idx):
        return self.case["xyz"][view_idx]


FLAGS = {
    "--n_samples": ("num_samples", int),
    "--w_neg_sam": ("negative_weight", float),
    "--w_pos_xyz": ("positive_position_weight", float),
    "--w_neg_xyz": ("negative_position_weight", float),
    "--q_pos": ("positive_quantile", float),
    "--q_neg": ("negative_quantile", float),
}


@pytest.mark.parametrize("path", cases("omniseg3d", "replica_eval"), ids=ids)
def test_replica_protocol(path):
    case = golden(path)
    flags = case["flags"].tolist()
    values = {}
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        name, kind = FLAGS[flag]
        values[name] = kind(value)
    settings = ReplicaProtocolSettings(**values)
    assert OBJECT_IDS[str(case["scene"])] == tuple(case["object_ids"].tolist())
    found = []
    for object_id in case["object_ids"]:
        weights = area_weights(case["labels"], case["depth_mm"], object_id)
        found.append(score_object(GoldenViews(case), weights, object_id, settings).iou)
    np.testing.assert_allclose(found, case["iou_per_object"], atol=1e-3)
    assert 100 * np.mean(found) == pytest.approx(float(case["miou_percent"]), abs=0.1)


@pytest.mark.parametrize("path", cases("omniseg3d", "field"), ids=ids)
def test_field_from_flat_weights(path):
    case = golden(path)
    layout = HashGridLayout(
        num_levels=int(case["n_levels"]),
        log2_table_size=int(case["log2_hashmap_size"]),
        base_resolution=int(case["base_resolution"]),
        growth=float(case["per_level_scale"]),
    )
    field = RadianceField(layout, scale=float(case["scale"]), feature_dim=int(case["semantic_dim"]))
    flat = {
        k.removesuffix("_params"): torch.from_numpy(v) for k, v in case.items() if "params" in k
    }
    field.load_state_dict(field_state(flat, field), strict=False)
    points, directions = torch.from_numpy(case["x"]), torch.from_numpy(case["d"])
    sigma, geometry = field.density(points)
    assert_close(geometry, case["geo"], 1e-4)
    assert_close(sigma, case["sigma"], 1e-4)
    assert_close(field.color(geometry, directions), case["rgb"], 1e-4)
    assert_close(field.features(points), case["features"], 1e-4)


def ball_density(case, points):
    centers, radii = torch.from_numpy(case["field_centers"]), torch.from_numpy(case["field_radii"])
    return (radii - torch.cdist(points, centers)), radii


@pytest.mark.parametrize("path", cases("omniseg3d", "occupancy"), ids=ids)
def test_occupancy_grid(path):
    case = golden(path)
    scale, size = float(case["scale"]), int(case["grid_size"])
    grid = OccupancyGrid(scale=scale, grid_size=size, erode=bool(case["erode"]))
    assert grid.cascades == int(case["cascades"])
    assert float(case["threshold"]) == pytest.approx(DENSITY_THRESHOLD, rel=1e-6)
    coords = torch.from_numpy(case["grid_coords"])
    assert torch.equal(decode_morton(encode_morton(coords)), coords)
    width, height = (int(v) for v in case["img_wh"])
    grid.mark_invisible(
        torch.from_numpy(case["K"]),
        torch.from_numpy(case["poses"]),
        (height, width),
        torch.from_numpy(np.stack([case["aabb_min"], case["aabb_max"]])),
        float(case["aabb_tol"]),
    )
    np.testing.assert_array_equal(grid.density_grid, case["grid_after_mark"])
    np.testing.assert_allclose(grid.count_grid, case["count_grid"], atol=1e-6)
    for k in range(3):

        def density(points, k=k):
            inside, _ = ball_density(case, points)
            return 30 / (1 + k) * torch.sigmoid(inside * 30 / scale).sum(1)

        grid.update(density, warmup=True, generator=None)
        expected = torch.from_numpy(case[f"grid_after_{k}"])
        torch.testing.assert_close(grid.density_grid, expected, rtol=1e-5, atol=1e-5)
        bits, wanted = (
            np.unpackbits(b, bitorder="little")
            for b in (grid.density_bitfield.numpy(), case[f"bitfield_after_{k}"])
        )
        mean = float(expected[expected > 0].mean())
        near = (expected.flatten() - min(mean, DENSITY_THRESHOLD)).abs() < 1e-5 * DENSITY_THRESHOLD
        assert not ((bits != wanted) & ~near.numpy()).any()


class GoldenField:
    def __init__(self, case):
        self.case = case
        self.W, self.V = torch.from_numpy(case["field_W"]), torch.from_numpy(case["field_V"])

    def density(self, points):
        inside, _ = ball_density(self.case, points)
        amp, sharp = float(self.case["field_amp"]), float(self.case["field_sharp"])
        return amp * torch.sigmoid(inside * sharp).sum(1), points

    def color(self, points, directions):
        unit = directions / directions.norm(dim=1, keepdim=True)
        return torch.sigmoid(points @ self.W[:3] + unit @ self.W[3:])

    def features(self, points):
        return torch.tanh(points @ self.V)


def assert_mostly_close(found, expected, tolerance, allowed):
    """A sample that lands within a rounding of a cell's border may fall on either side of it."""
    expected = torch.as_tensor(expected)
    off = (found - expected).abs() > tolerance * (1 + expected.abs())
    assert off.reshape(len(expected), -1).any(1).sum() <= allowed, (found - expected).abs().max()


def assert_same_samples(samples, case, allowed):
    """All rays but a few have the original's samples; see ``assert_mostly_close``."""
    rays = torch.from_numpy(case["train_rays_a"])
    assert torch.equal(samples.packed_info[:, 0], rays[:, 0])
    same = samples.packed_info[:, 2] == rays[:, 2]
    assert int((~same).sum()) <= allowed
    kept, wanted = (
        torch.repeat_interleave(same, counts[:, 2]) for counts in (samples.packed_info, rays)
    )
    for values, name in ((samples.t_starts, "train_ts"), (samples.step_sizes, "train_deltas")):
        assert_close(values[kept], case[name][wanted.numpy()], 1e-4)


@pytest.mark.parametrize("path", cases("omniseg3d", "render"), ids=ids)
def test_renderer(path):
    case = golden(path)
    field, bits = GoldenField(case), torch.from_numpy(case["bitfield"])
    rays_o, rays_d = torch.from_numpy(case["rays_o"]), torch.from_numpy(case["rays_d"])
    directions = camera_directions(
        torch.from_numpy(case["K"]), (int(case["H"]), int(case["W_img"]))
    )
    origins, rays = world_rays(directions, torch.from_numpy(case["c2w"]).float())
    torch.testing.assert_close(origins, rays_o, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(rays, rays_d, rtol=1e-6, atol=1e-6)
    march = MarchSettings(
        scale=float(case["scale"]),
        cascades=int(case["cascades"]),
        grid_size=int(case["grid_size"]),
        step_factor=float(case["exp_step_factor"]),
    )
    look = LookSettings(march=march, feature_dim=case["field_V"].shape[1])
    preview = dataclasses.replace(look, threshold=PREVIEW_THRESHOLD, max_samples=PREVIEW_SAMPLES)
    allowed = max(1, len(rays_o) // 200)
    for name, how in (("test", look), ("gui", preview)):
        seen = render_rays(field, rays_o, rays_d, bits, how)
        for key, values in (
            ("rgb", seen.rgb),
            ("depth", seen.depth),
            ("opacity", seen.opacity),
            ("feat", seen.features),
        ):
            assert_mostly_close(values, case[f"{name}_{key}"], 1e-4, allowed)
        samples = int(case[f"{name}_total_samples"])
        assert abs(seen.total_samples - samples) <= 1e-3 * samples
    solid = case["test_opacity"] > 0.05
    seen = render_rays(field, rays_o, rays_d, bits, look)
    assert_mostly_close(seen.positions[solid], case["test_xyz"][solid], 1e-3, allowed)

    noise = torch.from_numpy(case["noise"])
    num_rays, samples = march_training(rays_o, rays_d, noise, bits, march, None)
    assert num_rays == len(rays_o)
    marched = int(case["train_rm_samples"])
    assert abs(len(samples.t_starts) - marched) <= 1e-3 * marched
    assert_same_samples(samples, case, allowed)
    color = render_color(field, num_rays, samples)
    white = color.rgb + 1.0 - color.opacity[:, None]
    assert_mostly_close(white, case["train_rgb_white_bg"], 1e-4, allowed)
    assert_mostly_close(color.depth, case["train_depth"], 1e-4, allowed)
    assert_mostly_close(color.opacity, case["train_opacity"], 1e-4, allowed)
    fewer = drop_hidden(field, samples)
    assert abs(len(fewer.t_starts) - int(case["train_vr_samples"])) <= len(rays_o) + 1e-3 * marched
    again = render_color(field, num_rays, fewer)
    torch.testing.assert_close(again.rgb, color.rgb, rtol=0, atol=0)
    torch.testing.assert_close(again.depth, color.depth, rtol=0, atol=0)
    seen = render_features(field, num_rays, samples)
    assert_mostly_close(seen.features, case["train_feat"], 1e-4, allowed)
