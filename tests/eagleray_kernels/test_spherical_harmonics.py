import math

import numpy as np
import pytest
import scipy.special
import torch

import eagleray_kernels as kernels


def unit_vectors(count, seed, dtype=torch.float64):
    directions = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return directions / directions.norm(dim=1, keepdim=True)


def test_values_are_the_real_parts_of_scipys_harmonics(implementation):
    directions = unit_vectors(50, 5)
    x, y, z = directions.numpy().T
    polar, azimuth = np.arccos(z), np.arctan2(y, x)
    columns = []
    for band in range(4):
        for order in range(-band, band + 1):
            value = scipy.special.sph_harm_y(band, abs(order), polar, azimuth)
            if order == 0:
                columns.append(value.real)
            else:
                columns.append(math.sqrt(2) * (value.imag if order < 0 else value.real))
    found = kernels.spherical_harmonics(directions)
    np.testing.assert_allclose(found.numpy(), np.stack(columns, 1), atol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_lower_degrees_are_a_part_of_the_highest(degree, implementation):
    directions = unit_vectors(7, 6, torch.float32)
    found = kernels.spherical_harmonics(directions, degree)
    assert torch.equal(found, kernels.spherical_harmonics(directions)[:, : degree**2])


def test_gradient(implementation):
    directions = unit_vectors(5, 7).requires_grad_()
    assert torch.autograd.gradcheck(kernels.spherical_harmonics, (directions,))


def test_degree_out_of_range_is_refused():
    with pytest.raises(kernels.KernelInputError, match="degree must be from 1 to 4, found 5"):
        kernels.spherical_harmonics(torch.zeros(1, 3), 5)
