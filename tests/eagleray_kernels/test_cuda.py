"""The operators on a CUDA device against the same operators on the CPU."""

import pytest
import torch
from tests.eagleray_kernels.scenes import occupancy_bits, packed_samples, rays_through_cube

import eagleray_kernels as kernels

pytestmark = pytest.mark.gpu

SETTINGS = kernels.MarchSettings(scale=2.0, cascades=3, grid_size=32, step_factor=1 / 256)


@pytest.fixture(autouse=True)
def on_device():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if kernels.build.obstacle("cuda"):
        pytest.skip(kernels.build.obstacle("cuda"))
    with kernels.implementation("compiled"):
        yield


def moved(values, device):
    return {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in values.items()
    }


def test_marching_is_bit_equal():
    bits = occupancy_bits(SETTINGS, seed=1)
    rays = rays_through_cube(SETTINGS, 3000, seed=2)
    arguments = (*rays[:3], bits, rays[3])
    wanted = kernels.march_training_rays(*arguments, SETTINGS)
    found = kernels.march_training_rays(*(a.cuda() for a in arguments), SETTINGS)
    for name in wanted._fields:
        assert torch.equal(getattr(found, name).cpu(), getattr(wanted, name)), name


def test_inference_marching_is_bit_equal():
    bits = occupancy_bits(SETTINGS, seed=1)
    rays_o, rays_d, hits_t, _ = rays_through_cube(SETTINGS, 500, seed=3)
    results = []
    for device in ("cpu", "cuda"):
        state = hits_t.clone().to(device)
        rays = rays_o.to(device), rays_d.to(device), state, torch.arange(500).to(device)
        for _ in range(2):
            samples = kernels.march_live_rays_(*rays, bits.to(device), SETTINGS, num_samples=9)
        results.append([value.cpu() for value in (state, *samples)])
    assert results[0][-1].any()
    for found, wanted in zip(*reversed(results), strict=True):
        assert torch.equal(found, wanted)


def test_compositing_and_its_gradient_agree():
    results = []
    for device in ("cpu", "cuda"):
        samples = moved(packed_samples(300, seed=4), device)
        leaves = [samples[name].requires_grad_() for name in ("sigmas", "rgbs", "feats")]
        out = kernels.composite_training_rays(**samples)
        loss = kernels.distortion_loss(
            out.weights, samples["step_sizes"], samples["t_starts"], samples["packed_info"]
        )
        total = (out.rgb**2).sum() + (out.features**3).sum() + out.depth.sum() + loss.sum()
        grads = torch.autograd.grad(total, leaves)
        results.append([value.detach().cpu() for value in (*out, loss, *grads)])
    for found, wanted in zip(*reversed(results), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_hash_grid_and_its_gradients_agree():
    layout = kernels.HashGridLayout.up_to(256, num_levels=6, log2_table_size=12)
    generator = torch.Generator().manual_seed(5)
    table = torch.randn(layout.num_entries, 2, generator=generator)
    positions = torch.rand(4000, 3, generator=generator)
    on_encoding = torch.randn(4000, layout.num_outputs, generator=generator)
    results = []
    for device in ("cpu", "cuda"):
        leaves = [positions.to(device).requires_grad_(), table.to(device).requires_grad_()]
        encoded = kernels.hash_grid_encode(*leaves, layout.levels(device))
        grads = torch.autograd.grad(encoded, leaves, on_encoding.to(device))
        results.append([value.detach().cpu() for value in (encoded, *grads)])
    for found, wanted in zip(*reversed(results), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


def test_grid_operators_agree():
    coords = torch.randint(0, 1024, (1000, 3), generator=torch.Generator().manual_seed(6))
    codes = kernels.encode_morton(coords.cuda())
    assert torch.equal(codes.cpu(), kernels.encode_morton(coords))
    assert torch.equal(kernels.decode_morton(codes).cpu().long(), coords)
    values = torch.randn(4096, generator=torch.Generator().manual_seed(7))
    assert torch.equal(kernels.pack_bits(values.cuda(), 0.3).cpu(), kernels.pack_bits(values, 0.3))
    directions = torch.nn.functional.normalize(torch.randn(100, 3), dim=1)
    torch.testing.assert_close(
        kernels.spherical_harmonics(directions.cuda()).cpu(),
        kernels.spherical_harmonics(directions),
    )
