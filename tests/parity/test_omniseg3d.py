"""The operators of the radiance field against golden data of the original's kernels.

Every case runs on the compiled operators and on their twins in plain PyTorch.
"""

import numpy as np
import pytest
import torch
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401

import eagleray_kernels as kernels
from eagleray_kernels.twin.segments import read_segments


def ids(path):
    return path.stem


class Tensors(EveryKey):
    """The arrays of a case, as tensors where they have a dimension, else as Python numbers."""

    def __getitem__(self, key):
        value = super().__getitem__(key)
        # Positions of levels and rows are uint32 in the files; torch counts in int64.
        value = value.astype(np.int64) if value.dtype == np.uint32 else value
        return torch.from_numpy(value) if value.ndim else value.item()


def load(path):
    return Tensors(path, __name__)


WORDS = {
    "rays_a": "packed_info",
    "xyzs": "positions",
    "dirs": "directions",
    "deltas": "step_sizes",
    "ts": "t_starts",
    "ws": "weights",
    "feat": "features",
}
"""Our names of what the files name by the kernels' letters."""


def named(values, name):
    """The value that a file has under a name."""
    return getattr(values, WORDS.get(name, name))


def assert_close(found, wanted, tolerance):
    """Relative tolerance, and the same part of the largest wanted value where values cancel."""
    largest = float(wanted.abs().max()) if wanted.numel() else 0.0
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance * max(largest, 1e-6))


@pytest.fixture(params=["compiled", "twin"])
def implementation(request):
    if request.param == "compiled" and kernels.build.obstacle("cpu"):
        pytest.skip(kernels.build.obstacle("cpu"))
    with kernels.implementation(request.param):
        yield request.param


@pytest.mark.parametrize("path", cases("omniseg3d", "morton"), ids=ids)
def test_morton(path, implementation):
    case = load(path)
    assert torch.equal(kernels.encode_morton(case["coords"]), case["indices"])
    assert torch.equal(kernels.decode_morton(case["indices"]), case["inverted"])


@pytest.mark.parametrize("path", cases("omniseg3d", "packbits"), ids=ids)
def test_packbits(path, implementation):
    case = load(path)
    assert torch.equal(kernels.pack_bits(case["density_grid"], case["threshold"]), case["bitfield"])


@pytest.mark.parametrize("path", cases("omniseg3d", "aabb"), ids=ids)
def test_boxes_and_spheres(path, implementation):
    case = load(path)
    rays = case["rays_o"], case["rays_d"], case["centers"]
    boxes = kernels.intersect_boxes(*rays, case["half_sizes"], case["max_hits"])
    assert torch.equal(boxes.num_hits, case["hit_cnt"])
    assert torch.equal(boxes.volume_idx, case["hits_voxel_idx"])
    assert_close(boxes.hits_t, case["hits_t"], 1e-6)
    spheres = kernels.intersect_spheres(*rays, case["radii"], case["max_hits"])
    assert torch.equal(spheres.num_hits, case["sphere_hit_cnt"])
    assert torch.equal(spheres.volume_idx, case["sphere_hits_idx"])
    assert_close(spheres.hits_t, case["sphere_hits_t"], 1e-6)


def march_settings(case, *, skip_empty_blocks):
    return kernels.MarchSettings(
        scale=case["scale"],
        cascades=case["cascades"],
        grid_size=case["grid_size"],
        step_factor=case["exp_step_factor"],
        max_samples=case["max_samples"],
        skip_empty_blocks=skip_empty_blocks,
    )


@pytest.mark.parametrize("skip_empty_blocks", [True, False])
@pytest.mark.parametrize("path", cases("omniseg3d", "march"), ids=ids)
def test_march_training(path, skip_empty_blocks, implementation):
    case = load(path)
    samples = kernels.march_training_rays(
        case["rays_o"],
        case["rays_d"],
        case["hits_t"],
        case["bitfield"],
        case["noise"],
        march_settings(case, skip_empty_blocks=skip_empty_blocks),
    )
    for name in ("rays_a", "counter"):
        assert torch.equal(named(samples, name), case[name]), name
    for name in ("xyzs", "dirs", "deltas", "ts"):
        assert_close(named(samples, name), case[name], 1e-6)


@pytest.mark.parametrize("skip_empty_blocks", [True, False])
@pytest.mark.parametrize("path", cases("omniseg3d", "march"), ids=ids)
def test_march_inference_in_two_rounds(path, skip_empty_blocks, implementation):
    case = load(path)
    hits_t = case["hits_t"].clone()
    for round_name in ("test0", "test1"):
        samples = kernels.march_live_rays_(
            case["rays_o"],
            case["rays_d"],
            hits_t,
            case["test_alive"],
            case["bitfield"],
            march_settings(case, skip_empty_blocks=skip_empty_blocks),
            num_samples=case["test_n_samples"],
        )
        assert torch.equal(samples.counts, case[f"{round_name}_n_eff"])
        for name in ("xyzs", "dirs", "deltas", "ts"):
            assert_close(named(samples, name), case[f"{round_name}_{name}"], 1e-6)
        assert_close(hits_t, case[f"{round_name}_hits_t_after"], 1e-6)


def composite(case, *, with_features, faithful=False):
    """Composite a case and send its gradients back; returns the composite and the leaves."""
    leaves = {name: case[name].clone().requires_grad_() for name in ("sigmas", "rgbs", "feats")}
    rendered = kernels.composite_training_rays(
        leaves["sigmas"],
        leaves["rgbs"],
        leaves["feats"] if with_features else None,
        case["deltas"],
        case["ts"],
        case["rays_a"],
        threshold=case["T_threshold"],
        faithful=faithful,
    )
    outputs = ["opacity", "depth", "rgb", "ws"] + (["feat"] if with_features else [])
    torch.autograd.backward(
        [named(rendered, name) for name in outputs], [case[f"dL_d{name}"] for name in outputs]
    )
    return rendered, leaves


@pytest.mark.parametrize("path", cases("omniseg3d", "composite"), ids=ids)
def test_composite_training(path, implementation):
    case = load(path)
    rendered, leaves = composite(case, with_features=True)
    assert torch.equal(rendered.total_samples, case["total_samples"])
    for name in ("opacity", "depth", "rgb", "feat", "ws"):
        assert_close(named(rendered, name), case[name], 1e-5)
    assert_close(leaves["sigmas"].grad, case["dL_dsigmas_withfeat_correct"], 1e-5)
    assert_close(leaves["rgbs"].grad, case["dL_drgbs"], 1e-5)
    assert_close(leaves["feats"].grad, case["dL_dfeats"], 1e-5)


@pytest.mark.parametrize("path", cases("omniseg3d", "composite"), ids=ids)
def test_composite_training_of_colors_alone(path, implementation):
    case = load(path)
    _, leaves = composite(case, with_features=False)
    assert_close(leaves["sigmas"].grad, case["dL_dsigmas_rgbonly"], 1e-5)
    assert_close(leaves["rgbs"].grad, case["dL_drgbs"], 1e-5)


@pytest.mark.parametrize("path", cases("omniseg3d", "composite"), ids=ids)
def test_composite_training_with_the_published_feature_gradient(path, implementation):
    case = load(path)
    rendered, leaves = composite(case, with_features=True, faithful=True)
    assert_close(rendered.features, case["feat"], 1e-5)
    assert_close(leaves["sigmas"].grad, case["dL_dsigmas_withfeat_legacy"], 1e-5)
    assert_close(leaves["feats"].grad, case["dL_dfeats"], 1e-5)


@pytest.mark.parametrize("path", cases("omniseg3d", "composite"), ids=ids)
def test_distortion(path, implementation):
    case = load(path)
    weights = case["ws"].clone().requires_grad_()
    loss = kernels.distortion_loss(weights, case["deltas"], case["ts"], case["rays_a"])
    assert_close(loss, case["distortion_loss"], 1e-5)
    loss.backward(case["dL_dloss"])
    assert_close(weights.grad, case["distortion_dL_dws"], 1e-5)


@pytest.mark.parametrize("path", cases("omniseg3d", "composite"), ids=ids)
def test_prefix_sums_of_the_twin(path):
    case = load(path)
    segments = read_segments(case["rays_a"], len(case["ws"]))
    for values, wanted in (
        (case["ws"], case["ws_inclusive_scan"]),
        (case["ws"] * case["ts"], case["wts_inclusive_scan"]),
    ):
        sums = segments.prefix_sums(segments.take(values)).float()
        assert_close(segments.put_back(sums, len(values)), wanted, 1e-5)


@pytest.mark.parametrize("path", cases("omniseg3d", "composite_test"), ids=ids)
def test_composite_inference(path, implementation):
    case = load(path)
    state = {name: case[f"{name}_in"].clone() for name in ("opacity", "depth", "rgb", "feat")}
    alive = case["alive_in"].clone()
    kernels.composite_live_rays_(
        case["sigmas"],
        case["rgbs"],
        case["feats"],
        case["deltas"],
        case["ts"],
        case["n_eff"],
        threshold=case["T_threshold"],
        alive=alive,
        **{WORDS.get(name, name): values for name, values in state.items()},
    )
    assert torch.equal(alive, case["alive_out"])
    for name, found in state.items():
        assert_close(found, case[f"{name}_out"], 1e-5)


def hash_grid_layout(case):
    return kernels.HashGridLayout(
        num_levels=case["n_levels"],
        log2_table_size=case["log2_hashmap_size"],
        base_resolution=case["base_resolution"],
        growth=case["per_level_scale"],
        features_per_level=case["grid"].shape[1],
    )


@pytest.mark.parametrize("path", cases("omniseg3d", "hashgrid"), ids=ids)
def test_hash_grid_sizes(path):
    case = load(path)
    layout = hash_grid_layout(case)
    np.testing.assert_array_equal(layout.offsets, case["offsets"].numpy())
    np.testing.assert_array_equal(layout.resolutions, case["resolutions"].numpy())
    np.testing.assert_array_equal(layout.scales, case["scales"].numpy())


@pytest.mark.parametrize("path", cases("omniseg3d", "hashgrid"), ids=ids)
def test_hash_grid(path, implementation):
    case = load(path)
    table = case["grid"].clone().requires_grad_()
    encoded = kernels.hash_grid_encode(case["x"], table, hash_grid_layout(case).levels())
    assert_close(encoded, case["encoded"], 1e-5)
    encoded.backward(case["dL_dencoded"])
    wanted = torch.zeros_like(table)
    wanted[case["grad_nonzero_rows"].long()] = case["grad_values"]
    assert_close(table.grad, wanted, 1e-5)


@pytest.mark.parametrize("path", cases("omniseg3d", "hashgrid_tables"), ids=ids)
def test_hash_grid_sizes_of_the_paper(path):
    case = load(path)
    scales = {key.split("_")[0] for key in case}
    for scale in scales:
        half_side = float(scale.removeprefix("S").replace("p", "."))
        layout = kernels.HashGridLayout.up_to(2048 * half_side)
        assert np.float32(layout.growth) == np.float32(case[f"{scale}_per_level_scale"])
        np.testing.assert_array_equal(layout.offsets, case[f"{scale}_offsets"].numpy())
        np.testing.assert_array_equal(layout.resolutions, case[f"{scale}_resolutions"].numpy())
        np.testing.assert_array_equal(layout.scales, case[f"{scale}_scales"].numpy())


@pytest.mark.parametrize("path", cases("omniseg3d", "sh"), ids=ids)
def test_spherical_harmonics(path, implementation):
    case = load(path)
    assert_close(kernels.spherical_harmonics(case["directions"]), case["encoded"], 1e-5)
