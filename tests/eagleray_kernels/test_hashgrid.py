"""Hash grid: against a loop over points, levels and corners with Python integers."""

import math

import numpy as np
import pytest
import torch

import eagleray_kernels as kernels

SMALL = kernels.HashGridLayout(
    num_levels=4, features_per_level=2, log2_table_size=8, base_resolution=4, growth=1.6
)


def encode_by_loop(positions, table, layout):
    """The definition; the arithmetic of rows wraps in 32 bits."""
    encoded = np.zeros((len(positions), layout.num_levels, table.shape[1]))
    for point, position in enumerate(positions.double().numpy()):
        for level in range(layout.num_levels):
            rows = int(layout.offsets[level + 1] - layout.offsets[level])
            resolution = int(layout.resolutions[level])
            q = [float(layout.scales[level]) * u + 0.5 for u in position]
            low = [math.floor(value) for value in q]
            for corner in np.ndindex(2, 2, 2):
                x, y, z = (low[axis] + corner[axis] for axis in range(3))
                if resolution**3 <= rows:
                    row = (x + y * resolution + z * resolution**2) % 2**32 % rows
                else:
                    row = ((x ^ (y * 2654435761) ^ (z * 805459861)) % 2**32) % rows
                weight = math.prod(
                    q[a] - low[a] if corner[a] else 1 - (q[a] - low[a]) for a in range(3)
                )
                entry = table[int(layout.offsets[level]) + row].double().numpy()
                encoded[point, level] += weight * entry
    return torch.from_numpy(encoded.reshape(len(positions), -1))


def random_table(layout, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shape = layout.num_entries, layout.features_per_level
    return torch.randn(*shape, generator=generator, dtype=dtype)


def random_positions(count, seed, dtype=torch.float32):
    positions = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    if count >= 4:
        positions[:4] = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0.5], [0.5, 0.5, 1]])
    return positions


@pytest.mark.parametrize("features", [1, 2, 4, 8])
def test_encoding_is_that_of_a_loop(features, implementation):
    layout = kernels.HashGridLayout(
        num_levels=5,
        features_per_level=features,
        log2_table_size=9,
        base_resolution=3,
        growth=1.9,
    )
    assert layout.resolutions[0] ** 3 < 512 < layout.resolutions[-1] ** 3  # dense and hashed
    positions, table = random_positions(60, 1), random_table(layout, 2)
    found = kernels.hash_grid_encode(positions, table, layout.levels())
    assert found.shape == (60, 5 * features)
    wanted = encode_by_loop(positions, table, layout)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=2e-5)


def test_positions_outside_wrap(implementation):
    positions = torch.tensor([[-0.3, 0.4, 1.7], [2.5, -1.5, 0.1]], dtype=torch.float64)
    table = random_table(SMALL, 3, torch.float64)
    found = kernels.hash_grid_encode(positions, table, SMALL.levels())
    torch.testing.assert_close(found, encode_by_loop(positions, table, SMALL))


def test_gradient_of_table_and_positions(implementation):
    layout = kernels.HashGridLayout(
        num_levels=2, features_per_level=2, log2_table_size=5, base_resolution=2, growth=2.0
    )
    positions = random_positions(3, 4, torch.float64).requires_grad_()
    table = random_table(layout, 5, torch.float64).requires_grad_()
    levels = layout.levels()
    assert torch.autograd.gradcheck(
        lambda p, t: kernels.hash_grid_encode(p, t, levels), (positions, table)
    )


def test_gradients_of_the_implementations_agree_in_single_precision(compiled):
    generator = torch.Generator().manual_seed(6)
    on_encoding = torch.randn(500, SMALL.num_outputs, generator=generator)
    grads = []
    for choice in ("compiled", "twin"):
        positions = random_positions(500, 7).requires_grad_()
        table = random_table(SMALL, 8).requires_grad_()
        with kernels.implementation(choice):
            kernels.hash_grid_encode(positions, table, SMALL.levels()).backward(on_encoding)
        grads.append((positions.grad, table.grad))
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_table_gradient_does_not_depend_on_the_number_of_threads(compiled):
    positions, table = random_positions(20000, 9), random_table(SMALL, 10).requires_grad_()
    threads, grads = torch.get_num_threads(), []
    try:
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            encoded = kernels.hash_grid_encode(positions, table, SMALL.levels())
            grads.append(torch.autograd.grad((encoded**2).sum(), table)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*grads)


def test_no_positions(implementation):
    table = random_table(SMALL, 11).requires_grad_()
    encoded = kernels.hash_grid_encode(torch.zeros(0, 3), table, SMALL.levels())
    assert encoded.shape == (0, 8)
    encoded.sum().backward()
    assert (table.grad == 0).all()


def test_layout_of_the_paper_at_scale_3():
    # Sizes of OmniSeg3D's scenes at half side 3: 12,240,832 rows; resolutions 16, 24, 36, ... 6145.
    layout = kernels.HashGridLayout.up_to(2048 * 3)
    assert layout.num_entries == 12_240_832
    assert layout.resolutions[:6].tolist() == [16, 24, 36, 53, 79, 117]
    assert layout.resolutions[-1] == 6145
    assert layout.growth == pytest.approx(1.4869239, abs=1e-7)
    assert layout.num_outputs == 32


def test_every_level_holds_a_multiple_of_eight_rows_within_the_table_size():
    sizes = np.diff(SMALL.offsets)
    assert (sizes % 8 == 0).all()
    assert sizes.max() == 256
    assert sizes[0] == 64  # 4^3


def test_one_level(implementation):
    layout = kernels.HashGridLayout.up_to(64, num_levels=1, base_resolution=16)
    assert layout.resolutions.tolist() == [16]
    table = random_table(layout, 12)
    found = kernels.hash_grid_encode(random_positions(5, 13), table, layout.levels())
    assert found.shape == (5, 2)


def test_layouts_that_cannot_be_are_refused():
    for wrong in (
        {"features_per_level": 3},
        {"num_levels": 0},
        {"growth": 0.5},
        {"growth": float("nan")},
        {"log2_table_size": 40},
    ):
        with pytest.raises(kernels.KernelInputError, match="found"):
            kernels.HashGridLayout(**{"growth": 1.5, **wrong})


def test_arguments_that_do_not_fit_are_refused():
    table, levels = random_table(SMALL, 14), SMALL.levels()
    with pytest.raises(kernels.KernelInputError, match=r"positions must have shape \(N, 3\)"):
        kernels.hash_grid_encode(torch.zeros(4, 2), table, levels)
    with pytest.raises(kernels.KernelInputError, match="cast one"):
        kernels.hash_grid_encode(torch.zeros(4, 3).double(), table, levels)
    with pytest.raises(kernels.KernelInputError, match="rows"):
        kernels.hash_grid_encode(torch.zeros(4, 3), table[:-8], levels)
