"""The plugin OmniSeg3D against golden data of the original; the kernels have a file of their
own."""

import numpy as np
import pytest
from tests.parity.cases import cases

from eagleray_omniseg3d.hierarchy import build_hierarchy

SYSTEM = "omniseg3d"


def ids(path):
    return path.stem


@pytest.mark.parametrize("path", cases("omniseg3d", "hier"), ids=ids)
def test_hierarchy(path):
    case = np.load(path)
    hierarchy = build_hierarchy(case["masks"])
    assert hierarchy.indices.dtype == np.int16 and hierarchy.correlation.dtype == np.uint8
    np.testing.assert_array_equal(hierarchy.indices, case["indices"])
    np.testing.assert_array_equal(hierarchy.correlation, case["correlation"])
