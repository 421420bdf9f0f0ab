from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eagleray_vision.layers.activated_norm import (
    ActivatedBatchNorm,
    ActivatedGroupNorm,
    Activation,
    NormKind,
    NormSpec,
    activate,
)
from eagleray_vision.layers.folding import norm_after


def filled(norm: nn.Module, seed: int = 0) -> nn.Module:
    """Give a norm weights of both signs, biases and statistics."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in norm.state_dict().items():
        drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        value.copy_(drawn.abs() + 0.5 if name == "running_var" else drawn)
    return norm


@pytest.mark.parametrize("shape", [(6, 5), (3, 5, 4, 2)])
@pytest.mark.parametrize("training", [False, True])
def test_equals_batch_norm_with_absolute_scale(shape: tuple[int, ...], training: bool) -> None:
    norm = filled(ActivatedBatchNorm(5)).double().train(training)
    plain = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(5).double().train(training)
    plain.load_state_dict(norm.state_dict(), strict=False)
    plain.weight.data = norm.weight.data.abs() + 1e-5
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(norm(x), F.leaky_relu(plain(x), 0.01))
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_weight_zero_counts_as_positive_in_the_gradient() -> None:
    norm = ActivatedBatchNorm(1, activation="identity").double()
    norm.weight.data.zero_()
    norm.scale().sum().backward()
    assert norm.weight.grad.item() == 1


@pytest.mark.parametrize("activation", get_args(Activation))
def test_gradients(activation: Activation) -> None:
    norm = filled(ActivatedBatchNorm(3, activation=activation, slope=0.3)).double()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, *_: norm(v), (x, norm.weight, norm.bias))


@pytest.mark.parametrize("count", [0, 1])
def test_training_on_no_or_one_value_keeps_statistics_finite(count: int) -> None:
    norm = ActivatedBatchNorm(4).train()
    x = torch.randn(count, 4, requires_grad=True)
    norm(x).sum().backward()
    assert all(torch.isfinite(v).all() for v in norm.state_dict().values())
    assert x.grad.shape == x.shape
    if count == 0:
        assert torch.equal(norm.running_mean, torch.zeros(4))
        assert torch.equal(norm.running_var, torch.ones(4))
        assert torch.equal(norm.weight.grad, torch.zeros(4))


def test_joint_function_agrees_with_torch_and_passes_gradcheck() -> None:
    from eagleray_vision.layers.activated_norm import _JointBatchNorm

    x = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def normalize(*args: torch.Tensor) -> torch.Tensor:
        return _JointBatchNorm.apply(*args, 1e-5, False)[0]

    torch.testing.assert_close(
        normalize(x, scale, bias), F.batch_norm(x, None, None, scale, bias, training=True)
    )
    assert torch.autograd.gradcheck(normalize, (x, scale, bias))


def test_frozen_norm_ignores_the_batch_and_scales_by_the_plain_weight() -> None:
    norm = filled(NormSpec(kind="frozen").build(3)).double().train()
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    expected = F.batch_norm(
        x, before["running_mean"], before["running_var"], before["weight"], before["bias"]
    )
    torch.testing.assert_close(norm(x), F.leaky_relu(expected, 0.01))
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())


def test_group_norm_equals_torch() -> None:
    norm = filled(ActivatedGroupNorm(8, groups=4)).double()
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64)
    expected = F.leaky_relu(F.group_norm(x, 4, norm.weight, norm.bias, 1e-5), 0.01)
    torch.testing.assert_close(norm(x), expected)


def test_group_norm_refuses_channels_that_it_cannot_divide() -> None:
    with pytest.raises(ValueError, match="multiple of 16 channels, found 24"):
        ActivatedGroupNorm(24)


@pytest.mark.parametrize("kind", get_args(NormKind))
def test_norm_without_activation(kind: NormKind) -> None:
    norm = NormSpec(kind=kind, groups=2).build(4, activated=False).eval()
    x = -torch.rand(2, 4, 3, 3)
    assert (norm(x - 5) < 0).any()
    assert norm.activation == "identity"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [False, True])
def test_half_types_are_computed_in_float32(dtype: torch.dtype, training: bool) -> None:
    norm = filled(ActivatedBatchNorm(4)).train(training)
    x = (3 + torch.randn(4, 4, 5, 5)).to(dtype)
    y = norm(x)
    assert y.dtype == dtype
    reference = filled(ActivatedBatchNorm(4)).train(training)
    torch.testing.assert_close(y.float(), reference(x.float()), rtol=1e-2, atol=2e-2)


LAYERS = {
    "convolution": (nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False), (2, 3, 7, 8)),
    "dilated": (nn.Conv2d(3, 5, 3, padding=6, dilation=6, bias=False), (2, 3, 7, 8)),
    "depthwise": (nn.Conv2d(5, 5, 3, padding=1, groups=5, bias=False), (2, 5, 7, 8)),
    "with bias": (nn.Conv2d(3, 5, 1), (2, 3, 4, 4)),
    "transposed": (nn.ConvTranspose2d(3, 5, 2, stride=2, bias=False), (2, 3, 4, 4)),
    "linear": (nn.Linear(3, 5, bias=False), (6, 3)),
    "linear with bias": (nn.Linear(3, 5), (6, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_folding_changes_nothing_but_rounding(name: str) -> None:
    layer, shape = LAYERS[name]
    layer = layer.double()
    norm = filled(ActivatedBatchNorm(5)).double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(norm_after(layer, norm, x), norm(layer(x)))


def test_nothing_is_folded_while_training_or_differentiating() -> None:
    layer, norm = nn.Conv2d(2, 3, 1, bias=False), ActivatedBatchNorm(3)
    norm_after(layer, norm.eval(), torch.randn(2, 2, 3, 3)).sum().backward()
    assert norm.weight.grad is not None
    with torch.no_grad():
        norm_after(layer, norm.train(), torch.randn(2, 2, 3, 3) + 7)
    assert not torch.equal(norm.running_mean, torch.zeros(3))


def test_activations_match_torch() -> None:
    x = torch.randn(20)
    assert torch.equal(activate(x.clone(), "leaky_relu", 0.2), F.leaky_relu(x, 0.2))
    assert torch.equal(activate(x.clone(), "elu", 0.7), F.elu(x, 0.7))
    assert torch.equal(activate(x.clone(), "relu", 0.0), F.relu(x))
    assert torch.equal(activate(x.clone(), "identity", 0.0), x)
