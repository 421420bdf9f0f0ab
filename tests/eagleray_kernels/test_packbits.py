import numpy as np
import pytest
import torch

import eagleray_kernels as kernels


def test_bits_are_packed_from_the_lowest(implementation):
    values = torch.randn(3, 64, generator=torch.Generator().manual_seed(2))
    wanted = np.packbits(values.numpy().ravel() > 0.25, bitorder="little")
    np.testing.assert_array_equal(kernels.pack_bits(values, 0.25).numpy(), wanted)


def test_a_value_equal_to_the_threshold_is_not_above_it(implementation):
    values = torch.tensor([0.1, 0.1, 0.2, 0.0, 0.1, 0.3, -1.0, 0.1])
    threshold = float(values[0])
    assert kernels.pack_bits(values, threshold).tolist() == [0b00100100]


def test_infinities_and_not_a_number(implementation):
    values = torch.tensor([float("inf"), float("-inf"), float("nan"), 0, 0, 0, 0, 0])
    assert kernels.pack_bits(values, 1.0).tolist() == [1]


def test_values_that_fill_no_byte_are_refused():
    with pytest.raises(kernels.KernelInputError, match="multiple of 8 many, found 12"):
        kernels.pack_bits(torch.zeros(12), 0.0)
