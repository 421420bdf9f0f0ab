"""Every registered operator: schema, shapes without data, autograd registration, torch.compile."""

import pytest
import torch
from tests.eagleray_kernels.scenes import occupancy_bits, packed_samples, rays_through_cube

import eagleray_kernels as kernels

SETTINGS = kernels.MarchSettings(scale=0.5, cascades=1, grid_size=32, max_samples=64)
LAYOUT = kernels.HashGridLayout(
    num_levels=3, features_per_level=2, log2_table_size=6, base_resolution=2, growth=1.8
)


def grid_arguments(name):
    rays_o, rays_d, hits_t, noise = rays_through_cube(SETTINGS, 20, seed=1)
    bits = occupancy_bits(SETTINGS, seed=2)
    shape = (SETTINGS.cascades, SETTINGS.scale, 0.0, SETTINGS.grid_size, SETTINGS.max_samples)
    volumes = torch.zeros(2, 3), torch.ones(2, 3)
    return {
        "encode_morton": (torch.randint(0, 1024, (5, 3), dtype=torch.int32),),
        "decode_morton": (torch.arange(7, dtype=torch.int32),),
        "pack_bits": (torch.rand(32), 0.5),
        "intersect_boxes": (rays_o, rays_d, *volumes, 2),
        "intersect_spheres": (rays_o, rays_d, volumes[0], torch.ones(2), 2),
        "march_train": (rays_o, rays_d, hits_t, bits, noise, *shape, 0, True),
        "march_test": (rays_o, rays_d, hits_t, torch.arange(20), bits, *shape, 4, 1.0, True),
    }[name]


def sample_arguments(name):
    samples = packed_samples(6, seed=3)
    values = [samples[key].requires_grad_() for key in ("sigmas", "rgbs", "feats")]
    places = samples["step_sizes"], samples["t_starts"], samples["packed_info"]
    fixed = [value.detach() for value in values]
    with kernels.implementation("compiled"):
        out = kernels.composite_training_rays(*fixed, *places)
    weights = out.weights.clone().requires_grad_()
    grads = [torch.randn_like(getattr(out, key)) for key in ("opacity", "depth", "rgb", "features")]
    live = torch.rand(4, 5), torch.rand(4, 5, 3), torch.rand(4, 5, 2), torch.rand(2, 4, 5)
    state = torch.rand(9), torch.rand(9), torch.rand(9, 3), torch.rand(9, 2)
    return {
        "composite_train": (*values, *places, 1e-4, False),
        "composite_train_backward": (
            *grads,
            torch.randn_like(out.weights),
            *fixed[1:],
            *places,
            out.weights,
            out.total_samples,
            False,
            True,
            False,
            True,
        ),
        "composite_test": (
            *live[:3],
            *live[3],
            torch.full((4,), 3, dtype=torch.int32),
            0.01,
            torch.arange(4),
            *state,
        ),
        "distortion": (weights, *places),
        "distortion_backward": (torch.randn(6), weights.detach(), *places),
    }[name]


def encoding_arguments(name):
    levels = LAYOUT.levels()[:3]
    positions = torch.rand(9, 3, requires_grad=True)
    table = torch.rand(LAYOUT.num_entries, 2, requires_grad=True)
    fixed = positions.detach(), table.detach()
    grad = torch.randn(9, LAYOUT.num_outputs)
    directions = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    return {
        "hash_grid_encode": (positions, table, *levels),
        "hash_grid_table_gradient": (grad, fixed[0], *levels, LAYOUT.num_entries, 2),
        "hash_grid_position_gradient": (grad, *fixed, *levels),
        "spherical_harmonics": (directions.requires_grad_(), 3),
        "spherical_harmonics_backward": (torch.randn(5, 9), directions.detach(), 3),
    }[name]


def sampling_arguments(name):
    half = torch.randn(1, 4, 5, 6, dtype=torch.float16, requires_grad=True)
    offsets = torch.randn(1, 2, 3, 36, requires_grad=True)
    weights = torch.rand(1, 2, 3, 18, requires_grad=True)
    geometry = ((3, 3), (2, 2), (1, 1), (1, 1), 2, 1.0)
    value = torch.randn(2, 10, 3, 4, requires_grad=True)
    sizes = [3, 1], [3, 1]
    places = torch.rand(2, 5, 3, 2, 2, 2, requires_grad=True), torch.rand(2, 5, 3, 2, 2)
    fixed = half.detach(), offsets.detach(), weights.detach()
    return {
        "dcn_v3": (half, offsets, weights, *geometry),
        "dcn_v3_backward": (torch.randn(1, 2, 3, 6).half(), *fixed, *geometry),
        "deformable_attention": (value, *sizes, *places),
        "deformable_attention_backward": (
            torch.randn(2, 5, 12),
            value.detach(),
            *sizes,
            places[0].detach(),
            places[1],
        ),
    }[name]


def code_arguments(name):
    codes = torch.randint(0, 256, (5, 3), dtype=torch.uint8)
    return {
        "pq_decode": (codes, torch.randn(3, 256, 2)),
        "pq_decode_into": (codes, torch.randn(3, 256, 2), torch.zeros(5, 6)),
        "pq_scores": (torch.randn(3, 256, 7), codes),
    }[name]


ARGUMENTS = {
    "encode_morton": grid_arguments,
    "decode_morton": grid_arguments,
    "pack_bits": grid_arguments,
    "intersect_boxes": grid_arguments,
    "intersect_spheres": grid_arguments,
    "march_train": grid_arguments,
    "march_test": grid_arguments,
    "composite_train": sample_arguments,
    "composite_train_backward": sample_arguments,
    "composite_test": sample_arguments,
    "distortion": sample_arguments,
    "distortion_backward": sample_arguments,
    "hash_grid_encode": encoding_arguments,
    "hash_grid_table_gradient": encoding_arguments,
    "hash_grid_position_gradient": encoding_arguments,
    "spherical_harmonics": encoding_arguments,
    "spherical_harmonics_backward": encoding_arguments,
    "dcn_v3": sampling_arguments,
    "dcn_v3_backward": sampling_arguments,
    "deformable_attention": sampling_arguments,
    "deformable_attention_backward": sampling_arguments,
    "pq_decode": code_arguments,
    "pq_decode_into": code_arguments,
    "pq_scores": code_arguments,
}


def test_every_registered_operator_is_checked():
    names = torch._C._dispatch_get_all_op_names()
    registered = {name.split("::")[1] for name in names if name.startswith("eagleray::")}
    assert registered == set(ARGUMENTS)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_operator_passes_opcheck(name, compiled):
    torch.manual_seed(4)
    kernels.uses_compiled("cpu")
    arguments = ARGUMENTS[name](name)
    torch.library.opcheck(getattr(torch.ops.eagleray, name).default, arguments)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_every_operator_has_a_cuda_source(name):
    sources = kernels.build.__file__.replace("build.py", "csrc")
    registrations = {"cpp": "", "cu": ""}
    for suffix in registrations:
        for line in kernels.build.Path(sources, f"all.{suffix}").read_text().splitlines():
            if line.startswith("#include"):
                registrations[suffix] += kernels.build.Path(sources, line.split('"')[1]).read_text()
    assert f'm.impl("{name}"' in registrations["cpp"]
    assert f'm.impl("{name}"' in registrations["cu"]


def test_rendering_is_compiled_in_one_graph(compiled):
    samples = packed_samples(6, seed=5)
    levels = LAYOUT.levels()
    table = torch.rand(LAYOUT.num_entries, 2, requires_grad=True)

    def render(table, positions):
        encoded = kernels.hash_grid_encode(positions, table, levels)
        out = kernels.composite_training_rays(encoded.sum(1).exp(), encoded[:, :3], None, *places)
        loss = kernels.distortion_loss(out.weights, *places)
        return out.rgb.sum() + loss.sum()

    places = samples["step_sizes"], samples["t_starts"], samples["packed_info"]
    positions = torch.rand(len(places[0]), 3)
    wanted = torch.autograd.grad(render(table, positions), table)[0]
    compiled_render = torch.compile(render, backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled_render(table, positions), table)[0]
    torch.testing.assert_close(found, wanted)


def test_sampling_is_compiled_in_one_graph(compiled):
    value, offsets, weights, *_ = sampling_arguments("dcn_v3")
    leaves = value.detach().float().requires_grad_(), offsets, weights

    def sample(value, offsets, weights):
        out = kernels.dcn_v3(value, offsets, weights, stride=2, groups=2)
        places = out[:, :, :, None, :2].sigmoid().reshape(1, 6, 1, 1, 1, 2)
        rows = value.flatten(1, 2)[:, :, None]
        weight = torch.ones(1, 6, 1, 1, 1)
        return kernels.deformable_attention(rows, ((4, 5),), places, weight).square().sum()

    wanted = torch.autograd.grad(sample(*leaves), leaves)
    compiled_sample = torch.compile(sample, backend="aot_eager", fullgraph=True)
    found = torch.autograd.grad(compiled_sample(*leaves), leaves)
    torch.testing.assert_close(found, wanted)
