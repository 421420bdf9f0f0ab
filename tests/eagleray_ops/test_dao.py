"""The deformable block where its numbers are known, and where they could break."""

import pytest
import torch
from torch.nn import functional as F

from eagleray_ops.model.config import DaoSettings
from eagleray_ops.model.dao import DeformableAdapter, DeformableConvolution, patch_attention


def maps(height=5, width=6, channels=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, height, width, channels, generator=generator)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_new_block_averages_the_regular_grid(kernel):
    torch.manual_seed(0)
    block = DeformableConvolution(12, DaoSettings(groups=3, kernel=kernel, center_scale=False))
    x = maps()
    values = block.values(x).movedim(-1, 1)
    mean = F.avg_pool2d(values, kernel, 1, kernel // 2, count_include_pad=True)
    torch.testing.assert_close(block(x), block.output(mean.movedim(1, -1)))


def test_a_new_gate_takes_half_of_the_values():
    torch.manual_seed(0)
    block = DeformableConvolution(12, DaoSettings(groups=3))
    x = maps()
    values = block.values(x)
    mean = F.avg_pool2d(values.movedim(-1, 1), 3, 1, 1).movedim(1, -1)
    torch.testing.assert_close(block(x), block.output((mean + values) / 2))


@pytest.mark.parametrize("kind", ["softmax", "norm", "off"])
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_flat_maps_have_finite_outputs_and_gradients(kind, fill):
    torch.manual_seed(0)
    block = DeformableAdapter(12, DaoSettings(groups=3, patch_attention=kind))
    x = torch.full((1, 7, 8, 12), fill, requires_grad=True)
    y = block(x)
    assert y.shape == x.shape and bool(y.isfinite().all())
    y.sum().backward()
    assert bool(x.grad.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in block.parameters() if p.grad is not None)
    if kind != "off":
        inside = patch_attention(block.convolution(x), kind)[0, 3, 3]
        assert float(inside.detach()) == pytest.approx(0, abs=1e-6)


def test_likeness_is_read_off_the_neighborhood():
    x = torch.zeros(1, 3, 3, 2)
    x[0, 1, 1] = torch.tensor([3.0, 4.0])
    x[0, 0, 1] = torch.tensor([4.0, 3.0])
    norm = patch_attention(x, "norm")[0, 1, 1, 0]
    expected = torch.tensor([0, 24 / 25, 0, 0, 1, 0, 0, 0, 0]).std()
    torch.testing.assert_close(norm, expected)
    softmax = patch_attention(x, "softmax")[0, 1, 1, 0]
    scores = torch.tensor([0, 24.0, 0, 0, 25, 0, 0, 0, 0])
    torch.testing.assert_close(softmax, scores.softmax(0).std())
    assert float(patch_attention(x, "off").unique()) == 1


def test_half_precision_keeps_dot_products_finite():
    x = maps(channels=240) * 60  # dot products beyond the largest half-precision number
    with torch.autocast("cpu", torch.float16):
        found = patch_attention(x.half(), "softmax")
    torch.testing.assert_close(found, patch_attention(x.half().float(), "softmax"))


def test_autocast_changes_little():
    torch.manual_seed(0)
    block = DeformableAdapter(12, DaoSettings(groups=3))
    torch.nn.init.normal_(block.convolution.offsets.weight, std=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        half = block(maps())
    torch.testing.assert_close(half.float(), block(maps()), atol=0.05, rtol=0.05)


def test_gradients_in_double_precision():
    torch.manual_seed(0)
    block = DeformableAdapter(4, DaoSettings(groups=2)).double()
    torch.nn.init.normal_(block.convolution.offsets.weight, std=0.3)
    torch.nn.init.uniform_(block.convolution.offsets.bias, 0.2, 0.4)
    x = maps(3, 3, 4)[:1].double().requires_grad_()
    assert torch.autograd.gradcheck(block, (x,), eps=1e-6, atol=1e-6)
