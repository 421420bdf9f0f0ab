"""Marching: against a scalar march on NumPy float32, and the implementations against each other."""

import math

import numpy as np
import pytest
import torch
from tests.eagleray_kernels.scenes import occupancy_bits, rays_through_cube

import eagleray_kernels as kernels

f32 = np.float32

CONSTANT = kernels.MarchSettings(scale=0.5, cascades=1, grid_size=32, max_samples=256)
GROWING = kernels.MarchSettings(
    scale=2.0, cascades=3, grid_size=32, step_factor=1 / 256, max_samples=256
)
ODD_SCALE = kernels.MarchSettings(
    scale=3.0, cascades=4, grid_size=64, step_factor=1 / 256, max_samples=1024
)
WIDE_CONSTANT = kernels.MarchSettings(scale=3.0, cascades=4, grid_size=32, max_samples=160)
FINE = kernels.MarchSettings(scale=0.5, cascades=1, grid_size=128, max_samples=1024)
TINY_GRID = kernels.MarchSettings(scale=1.0, cascades=2, grid_size=4, max_samples=64)
ALL = {
    "constant": CONSTANT,
    "growing": GROWING,
    "odd_scale": ODD_SCALE,
    "wide_constant": WIDE_CONSTANT,
    "fine": FINE,
    "tiny_grid": TINY_GRID,
}


def with_skipping(settings, skip):
    return kernels.MarchSettings(
        **{**settings.__dict__, "skip_empty_blocks": skip},
    )


def scalar_march(settings, bits, origin, direction, near, far, noise):
    """One ray, cell by cell, every operation in float32; returns (t, step) of the samples."""
    size, scale = settings.grid_size, f32(settings.scale)
    low = f32(1.73205080757) / f32(settings.max_samples)
    high = f32(1.73205080757) * f32(2) * scale / f32(size)

    def step_at(t):
        return max(low, min(t * f32(settings.step_factor), high))

    def level(value, add):
        return min(max(math.frexp(value)[1] + add, 0), settings.cascades - 1)

    samples = []
    if near < 0:
        return samples
    t = near + step_at(near) * noise
    while t < far and len(samples) < settings.max_samples:
        x = origin + t * direction
        step = step_at(t)
        cascade = max(level(np.abs(x).max(), 1), level(step * f32(size), 0))
        bound = min(f32(2.0 ** (cascade - 1)), scale)
        cell = np.clip(f32(0.5) * (x * (f32(1) / bound) + f32(1)) * f32(size), 0, size - 1)
        cell = cell.astype(int)
        code = sum((int(cell[k % 3]) >> k // 3 & 1) << k for k in range(30))
        bit = cascade * size**3 + code
        if bits[bit // 8] >> (bit % 8) & 1:
            samples.append((t, step))
            t = t + step
            continue
        ahead = (~np.signbit(direction)).astype(int)
        side = ((cell + ahead).astype(f32) / f32(size) * f32(2) - f32(1)) * bound
        with np.errstate(divide="ignore", invalid="ignore"):
            leaving = np.fmin.reduce((side - x) * (f32(1) / direction))
        target = t + max(f32(0), leaving)
        t = t + step_at(t)
        while t < target and t < far:
            t = t + step_at(t)
    return samples


@pytest.mark.parametrize("name", ["constant", "growing"])
@pytest.mark.parametrize("skip", [True, False])
def test_samples_are_those_of_a_scalar_march(name, skip, implementation):
    settings = with_skipping(ALL[name], skip)
    bits = occupancy_bits(settings, seed=11)
    rays_o, rays_d, hits_t, noise = rays_through_cube(settings, 60, seed=12)
    found = kernels.march_training_rays(rays_o, rays_d, hits_t, bits, noise, settings)
    total = 0
    for ray, start, count in found.packed_info.tolist():
        arguments = (tensor[ray].numpy() for tensor in (rays_o, rays_d))
        near, far = hits_t[ray].numpy()
        wanted = scalar_march(settings, bits.numpy(), *arguments, near, far, noise[ray].numpy())
        assert start == total
        assert count == len(wanted)
        t_starts = found.t_starts[start : start + count].tolist()
        step_sizes = found.step_sizes[start : start + count].tolist()
        assert list(zip(t_starts, step_sizes, strict=True)) == [
            (float(t), float(dt)) for t, dt in wanted
        ]
        total += count
    assert found.counter.tolist() == [total, 60]
    assert total > 100


def assert_equal_samples(found, wanted):
    for name in wanted._fields:
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name


@pytest.mark.parametrize("kind", ["blobs", "random"])
@pytest.mark.parametrize("name", list(ALL))
def test_compiled_training_march_equals_the_twin_bit_for_bit(name, kind, compiled):
    settings = ALL[name]
    bits = occupancy_bits(settings, seed=13, kind=kind)
    rays = rays_through_cube(settings, 1500, seed=14)
    arguments = (*rays[:3], bits, rays[3])
    with kernels.implementation("twin"):
        wanted = kernels.march_training_rays(*arguments, settings)
    assert len(wanted.t_starts) > 100
    for skip in (True, False):
        found = kernels.march_training_rays(*arguments, with_skipping(settings, skip))
        assert_equal_samples(found, wanted)


@pytest.mark.parametrize("name", list(ALL))
def test_crossing_empty_blocks_never_changes_a_sample(name, compiled):
    settings = ALL[name]
    for seed in range(2):
        bits = occupancy_bits(settings, seed=20 + seed, share=0.08)
        rays = rays_through_cube(settings, 20000, seed=30 + seed)
        arguments = (*rays[:3], bits, rays[3])
        wanted = kernels.march_training_rays(*arguments, with_skipping(settings, False))
        found = kernels.march_training_rays(*arguments, with_skipping(settings, True))
        assert_equal_samples(found, wanted)


@pytest.mark.parametrize("name", list(ALL))
def test_compiled_inference_march_equals_the_twin_bit_for_bit(name, compiled):
    settings = ALL[name]
    bits = occupancy_bits(settings, seed=15)
    rays_o, rays_d, hits_t, _ = rays_through_cube(settings, 300, seed=16)
    alive = torch.arange(300)
    alive[::7] = -1
    for faithful in {True, settings.step_factor == 0.0}:
        mine, twins = hits_t.clone(), hits_t.clone()
        for num_samples in (1, 50):
            arguments = {"num_samples": num_samples, "faithful": faithful}
            found = kernels.march_live_rays_(
                rays_o, rays_d, mine, alive, bits, settings, **arguments
            )
            with kernels.implementation("twin"):
                wanted = kernels.march_live_rays_(
                    rays_o, rays_d, twins, alive, bits, settings, **arguments
                )
            assert_equal_samples(found, wanted)
            assert torch.equal(mine, twins)
        assert (found.counts[alive < 0] == 0).all()


def test_a_march_that_begins_behind_the_camera_is_the_same_in_every_implementation(compiled):
    settings = CONSTANT
    bits = occupancy_bits(settings, seed=25)
    rays_o, rays_d, hits_t, _ = rays_through_cube(settings, 200, seed=26)
    hits_t[:, 0], hits_t[:, 1] = -1.5, 1.5
    results = []
    for choice, skip in (("twin", False), ("compiled", False), ("compiled", True)):
        with kernels.implementation(choice):
            results.append(
                kernels.march_live_rays_(
                    rays_o,
                    rays_d,
                    hits_t.clone(),
                    torch.arange(200),
                    bits,
                    with_skipping(settings, skip),
                    num_samples=300,
                )
            )
    assert (results[0].t_starts < 0).any()
    assert_equal_samples(results[1], results[0])
    assert_equal_samples(results[2], results[0])


def test_inference_rounds_give_the_samples_of_training_without_noise(implementation):
    settings = CONSTANT
    bits = occupancy_bits(settings, seed=17)
    rays_o, rays_d, hits_t, noise = rays_through_cube(settings, 200, seed=18)
    wanted = kernels.march_training_rays(rays_o, rays_d, hits_t, bits, noise * 0, settings)
    state, rounds = hits_t.clone(), []
    while not rounds or rounds[-1].counts.any():
        rounds.append(
            kernels.march_live_rays_(
                rays_o, rays_d, state, torch.arange(200), bits, settings, num_samples=7
            )
        )
    for ray, start, count in wanted.packed_info.tolist():
        t_starts = torch.cat([r.t_starts[ray, : r.counts[ray]] for r in rounds])
        assert torch.equal(t_starts, wanted.t_starts[start : start + count])


def test_the_originals_step_bound_only_matters_for_growing_steps(implementation):
    def step_sizes(settings, *, faithful):
        bits = torch.full_like(occupancy_bits(settings, seed=1), 255)
        ray = torch.tensor([[-1.9, 0.1, 0.2]]), torch.tensor([[1.0, 0.01, 0.02]])
        hits_t = torch.tensor([[300.0, 310.0]])
        return kernels.march_live_rays_(
            *ray, hits_t, torch.arange(1), bits, settings, num_samples=3, faithful=faithful
        ).step_sizes

    bound = 1.73205080757 * 2 / GROWING.grid_size
    assert step_sizes(GROWING, faithful=True)[0, 0] == pytest.approx(bound * GROWING.cascades)
    assert step_sizes(GROWING, faithful=False)[0, 0] == pytest.approx(bound * GROWING.scale)
    assert torch.equal(step_sizes(CONSTANT, faithful=True), step_sizes(CONSTANT, faithful=False))


def test_a_ray_has_at_most_max_samples(implementation):
    settings = kernels.MarchSettings(scale=0.5, cascades=1, grid_size=8, max_samples=5)
    bits = torch.full((64,), 255, dtype=torch.uint8)
    found = kernels.march_training_rays(
        torch.tensor([[0.0, 0.0, 0.0]]),
        torch.tensor([[0.001, 0.0, 0.0]]),
        torch.tensor([[0.01, 500.0]]),
        bits,
        torch.zeros(1),
        settings,
    )
    assert found.packed_info.tolist() == [[0, 0, 5]]


def test_the_bound_on_all_samples_leaves_out_whole_rays(implementation):
    settings = CONSTANT
    bits = occupancy_bits(settings, seed=19)
    rays = rays_through_cube(settings, 300, seed=20)
    arguments = (*rays[:3], bits, rays[3], settings)
    everything = kernels.march_training_rays(*arguments)
    bound = len(everything.t_starts) // 2
    found = kernels.march_training_rays(*arguments, max_total_samples=bound)
    num_samples, num_marched = found.counter.tolist()
    assert len(found.t_starts) == num_samples <= bound
    assert 0 < num_marched < 300
    assert torch.equal(found.packed_info[:num_marched], everything.packed_info[:num_marched])
    assert (found.packed_info[num_marched:, 2] == 0).all()
    assert int(everything.packed_info[num_marched, 1:].sum()) > bound
    for name in ("positions", "directions", "t_starts", "step_sizes"):
        assert torch.equal(getattr(found, name), getattr(everything, name)[:num_samples])


def test_a_bound_that_no_ray_fits(implementation):
    bits = torch.full((4096,), 255, dtype=torch.uint8)
    rays = rays_through_cube(CONSTANT, 4, seed=21)
    found = kernels.march_training_rays(*rays[:3], bits, rays[3], CONSTANT, max_total_samples=1)
    assert len(found.t_starts) <= 1


def test_rays_that_miss_or_meet_nothing_have_no_samples(implementation):
    bits = torch.zeros(4096, dtype=torch.uint8)
    rays_o = torch.tensor([[0.0, 0.0, -2.0], [5.0, 5.0, 5.0]])
    rays_d = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    hits_t = torch.tensor([[1.5, 2.5], [-1.0, -1.0]])
    found = kernels.march_training_rays(rays_o, rays_d, hits_t, bits, torch.zeros(2), CONSTANT)
    assert found.packed_info.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert found.counter.tolist() == [0, 2]
    assert found.positions.shape == (0, 3)


def test_a_ray_without_direction_ends(implementation):
    bits = torch.zeros(4096, dtype=torch.uint8)
    found = kernels.march_training_rays(
        torch.full((1, 3), 0.1),
        torch.zeros(1, 3),
        torch.tensor([[0.01, 3.0]]),
        bits,
        torch.zeros(1),
        CONSTANT,
    )
    assert found.counter.tolist() == [0, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_rays_that_are_not_finite_end_and_touch_no_foreign_memory(value, implementation):
    bits = torch.full((4096,), 255, dtype=torch.uint8)
    rays = torch.tensor([[0.1, 0.2, -0.1], [0.0, 0.0, -2.0]]).repeat(6, 1)
    directions = torch.tensor([[0.3, 0.1, 0.5], [0.0, 0.0, 1.0]]).repeat(6, 1)
    for row, column in enumerate([0, 1, 2, 0, 1, 2]):
        (rays if row < 3 else directions)[2 * row, column] = value
    hits_t = kernels.intersect_boxes(rays, directions, torch.zeros(1, 3), torch.full((1, 3), 0.5))
    hits_t = torch.where(hits_t.hits_t[:, 0] > 0, hits_t.hits_t[:, 0], 0.01).clamp(max=3.0)
    found = kernels.march_training_rays(rays, directions, hits_t, bits, torch.zeros(12), CONSTANT)
    counts = found.packed_info[:, 2]
    assert (counts <= CONSTANT.max_samples).all() and int(counts.sum()) == len(found.t_starts)
    assert torch.equal(counts[1::2], counts[1::2][:1].expand(6)) and counts[1] > 0
    live = kernels.march_live_rays_(
        rays, directions, hits_t, torch.arange(12), bits, CONSTANT, num_samples=4
    )
    assert (live.counts <= 4).all()


def test_no_rays(implementation):
    bits = torch.zeros(4096, dtype=torch.uint8)
    found = kernels.march_training_rays(
        torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 2), bits, torch.zeros(0), CONSTANT
    )
    assert found.packed_info.shape == (0, 3)
    assert found.counter.tolist() == [0, 0]


def test_positions_are_differentiable_in_the_rays():
    generator = torch.Generator().manual_seed(22)
    packed_info = torch.tensor([[0, 0, 3], [1, 3, 0], [2, 3, 2]])
    t_starts = torch.rand(5, generator=generator, dtype=torch.float64)
    rays_o, rays_d = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64).unbind(0)
    rays = rays_o.requires_grad_(), rays_d.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda o, d: kernels.points_on_rays(o, d, t_starts, packed_info), rays
    )


def test_gradient_to_rays_is_the_sum_over_their_samples(implementation):
    bits = occupancy_bits(CONSTANT, seed=23)
    rays_o, rays_d, hits_t, noise = rays_through_cube(CONSTANT, 50, seed=24)
    rays_o.requires_grad_()
    rays_d.requires_grad_()
    found = kernels.march_training_rays(rays_o, rays_d, hits_t, bits, noise, CONSTANT)
    (found.positions.sum() + 2 * found.directions.sum()).backward()
    for ray, start, count in found.packed_info.tolist():
        assert rays_o.grad[ray].tolist() == [count] * 3
        wanted = float(found.t_starts[start : start + count].sum()) + 2 * count
        assert rays_d.grad[ray].tolist() == pytest.approx([wanted] * 3, rel=1e-5)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(kernels.KernelInputError, match="grid_size must be a power of two"):
        kernels.MarchSettings(scale=1.0, cascades=1, grid_size=100)
    with pytest.raises(kernels.KernelInputError, match="cascades must be from 1"):
        kernels.MarchSettings(scale=1.0, cascades=0)
    with pytest.raises(kernels.KernelInputError, match="scale must be above 0"):
        kernels.MarchSettings(scale=0.0, cascades=1)


def test_arguments_that_do_not_fit_are_refused():
    rays = torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2, 2)
    bits = torch.zeros(4096, dtype=torch.uint8)
    with pytest.raises(kernels.KernelInputError, match=r"bitfield must have shape \(4096\)"):
        kernels.march_training_rays(*rays, bits[:-1], torch.zeros(2), CONSTANT)
    with pytest.raises(kernels.KernelInputError, match="max_total_samples must be 1 or more"):
        kernels.march_training_rays(*rays, bits, torch.zeros(2), CONSTANT, max_total_samples=0)
    with pytest.raises(kernels.KernelInputError, match="hits_t must be contiguous float32"):
        kernels.march_live_rays_(
            rays[0],
            rays[1],
            torch.zeros(2, 2).T,
            torch.zeros(2).long(),
            bits,
            CONSTANT,
            num_samples=1,
        )
