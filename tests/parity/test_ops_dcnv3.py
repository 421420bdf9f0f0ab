"""The sampling core of OPS' deformable blocks against golden data, compiled and as the twin."""

import pytest
import torch
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


def size(tensor):
    """One number, or (along y, along x)."""
    return int(tensor) if tensor.dim() == 0 else tuple(tensor.tolist())


@pytest.mark.parametrize("path", cases("ops", "dcnv3_core"), ids=lambda path: path.stem)
def test_core(path, implementation):
    case = Golden(path)
    leaves = [case[name].requires_grad_() for name in ("input", "offset", "mask")]
    found = kernels.dcn_v3(
        *leaves,
        kernel_size=size(case["kernel"]),
        stride=size(case["stride"]),
        padding=size(case["pad"]),
        dilation=size(case["dilation"]),
        groups=int(case["group"]),
        offset_scale=float(case["offset_scale"]),
    )
    close(found, case["output"])
    grads = torch.autograd.grad(found, leaves, case["upstream_grad"])
    for name, grad in zip(("grad_input", "grad_offset", "grad_mask"), grads, strict=True):
        close(grad, case[name])
