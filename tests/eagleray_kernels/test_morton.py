import pytest
import torch

import eagleray_kernels as kernels


def interleave(x, y, z):
    """The definition, on Python integers."""
    code = 0
    for bit in range(10):
        for axis, value in enumerate((x, y, z)):
            code |= (value >> bit & 1) << (3 * bit + axis)
    return code


def test_codes_follow_the_definition(implementation):
    coords = torch.randint(0, 1024, (500, 3), generator=torch.Generator().manual_seed(1))
    coords[:4] = torch.tensor([[0, 0, 0], [1023, 1023, 1023], [1023, 0, 0], [0, 0, 1023]])
    wanted = torch.tensor([interleave(*row) for row in coords.tolist()], dtype=torch.int32)
    codes = kernels.encode_morton(coords)
    assert codes.dtype == torch.int32
    assert torch.equal(codes, wanted)


def test_every_code_of_a_grid_decodes_to_its_cell(implementation):
    codes = torch.arange(32**3)
    coords = kernels.decode_morton(codes)
    assert int(coords.min()) == 0
    assert int(coords.max()) == 31
    assert torch.equal(kernels.encode_morton(coords).long(), codes)


def test_no_cells(implementation):
    assert kernels.encode_morton(torch.zeros(0, 3)).shape == (0,)
    assert kernels.decode_morton(torch.zeros(0)).shape == (0, 3)


def test_coordinates_of_another_shape_are_refused():
    with pytest.raises(kernels.KernelInputError, match=r"coords must have shape \(N, 3\)"):
        kernels.encode_morton(torch.zeros(4, 2))
    with pytest.raises(kernels.KernelInputError, match=r"codes must have shape \(N\)"):
        kernels.decode_morton(torch.zeros(4, 2))
