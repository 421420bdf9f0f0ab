"""POP-3D's multi-scale deformable attention against golden data, compiled and as the twin."""

import pytest
from tests.parity.cases import cases
from tests.parity.every_key import every_key_is_read  # noqa: F401
from tests.parity.golden import Case, close

import eagleray_kernels as kernels


class Golden(Case):
    module = __name__


@pytest.fixture(params=["compiled", "twin"])
def implementation(request):
    if request.param == "compiled" and kernels.build.obstacle("cpu"):
        pytest.skip(kernels.build.obstacle("cpu"))
    with kernels.implementation(request.param):
        yield request.param


@pytest.mark.parametrize("path", cases("pop3d", "msda"), ids=lambda path: path.stem)
def test_core(path, implementation):
    case = Golden(path)
    found = kernels.deformable_attention(
        case["value"],
        case["spatial_shapes"],
        case["sampling_locations"],
        case["attention_weights"],
    )
    close(found, case["output"])
