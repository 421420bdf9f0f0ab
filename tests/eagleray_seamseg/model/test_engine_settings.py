"""The engine's settings on this network: compiling, channels last, mixed precision."""

import pytest
import torch
from tests.eagleray_seamseg.small_network import small_network
from tests.eagleray_vision.small_batch import SIZES, generators, images, target
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from eagleray_seamseg.losses import LOSS_NAMES, panoptic_losses
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_vision.layers.activated_norm import ActivatedBatchNorm, ActivatedGroupNorm
from eagleray_vision.layers.window_pool import window_average_pool

LARGER = (80, 112)


def losses(network: SeamlessNetwork, size: tuple[int, int] = SIZES[0]) -> dict[str, Tensor]:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    sizes = [size, (size[0] - 14, size[1] - 16)]
    terms = panoptic_losses(
        network, x, sizes, [target(sizes[0]), target(sizes[1], "stuff")], generators=generators()
    )
    return {
        name: torch.as_tensor(t.sum) / torch.as_tensor(t.weight).clamp(min=1)
        for name, t in terms.items()
    }


def total(values: dict[str, Tensor]) -> Tensor:
    return torch.stack([value.float() for value in values.values()]).sum()


def assert_close_gradients(one: nn.Module, other: nn.Module, tolerance: float) -> None:
    """Compare relative to the size of the parameter's gradient, or the mean one if it is tiny."""
    sizes = [float(p.grad.norm()) for p in one.parameters()]
    least = 1e-3 * sum(sizes) / len(sizes)
    for (name, p), q, size in zip(one.named_parameters(), other.parameters(), sizes, strict=True):
        assert float((p.grad - q.grad).norm()) <= tolerance * max(size, least), name


@pytest.mark.parametrize(
    ("backend", "sizes"),
    [
        ("aot_eager", [SIZES[0]]),
        pytest.param("aot_eager", [SIZES[0], LARGER, (51, 83)], marks=pytest.mark.slow),
        pytest.param("inductor", [SIZES[0]], marks=pytest.mark.slow),
    ],
)
def test_compiled_network_has_equal_losses_and_gradients(
    backend: str, sizes: list[tuple[int, int]]
) -> None:
    torch.compiler.reset()
    plain = small_network(normalization_mode="gn").train()
    compiled = small_network(normalization_mode="gn").train()
    counter = CompileCounterWithBackend(backend)
    compiled.compile(backend=counter)
    for size in sizes:
        for network in (plain, compiled):
            network.zero_grad(set_to_none=True)
            total(losses(network, size)).backward()
        found, expected = losses(compiled, size), losses(plain, size)
        for name in LOSS_NAMES:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
        assert_close_gradients(plain, compiled, 1e-3)
    assert counter.frame_count >= 2  # body and semantic head


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_window_pool_can_be_compiled_with_its_gradient(layout: torch.memory_format) -> None:
    torch.compiler.reset()
    x = torch.randn(2, 4, 9, 11).contiguous(memory_format=layout)
    grads = []
    for pool in (window_average_pool, torch.compile(window_average_pool)):
        one = x.clone(memory_format=torch.preserve_format).requires_grad_()
        pool(one, (4, 64)).square().sum().backward()
        grads.append(one.grad)
    torch.testing.assert_close(grads[1], grads[0])


def odd_layouts(network: SeamlessNetwork, run) -> list[str]:
    """Return the layers with a map whose channels are not stored last."""
    found = []

    def look(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for x in (inputs[0], output):
                is_map = x.dim() == 4 and x.shape[1] > 1 and x.shape[2] * x.shape[3] > 1
                if is_map and not x.is_contiguous(memory_format=torch.channels_last):
                    found.append(name)

        return hook

    kinds = (nn.Conv2d, nn.ConvTranspose2d, ActivatedBatchNorm, ActivatedGroupNorm)
    handles = [
        module.register_forward_hook(look(name))
        for name, module in network.named_modules()
        if isinstance(module, kinds)
    ]
    run()
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("mode", ["bn", "syncbn", "gn", "off"])
@pytest.mark.parametrize("training", [True, False])
def test_channels_are_stored_last_from_the_image_to_the_heads(mode: str, training: bool) -> None:
    network = small_network(normalization_mode=mode).to(memory_format=torch.channels_last)
    network.train(training)
    run = (lambda: losses(network)) if training else (lambda: network.infer(images(), SIZES))
    # the window average works on sums along rows; its 1 x 1 convolution takes either order
    assert {n for n in odd_layouts(network, run) if not n.endswith("conv1_glb")} == set()
    for name, parameter in network.named_parameters():
        if parameter.dim() == 4 and parameter.shape[1] > 1:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name


def test_channels_last_changes_no_loss_no_gradient_and_no_prediction() -> None:
    plain = small_network(normalization_mode="bn").train()
    other = small_network(normalization_mode="bn").to(memory_format=torch.channels_last).train()
    for network in (plain, other):
        total(losses(network)).backward()
    found, expected = losses(other), losses(plain)
    for name in LOSS_NAMES:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert_close_gradients(plain, other, 1e-3)
    for one, two in zip(
        plain.eval().infer(images(), SIZES), other.eval().infer(images(), SIZES), strict=True
    ):
        torch.testing.assert_close(one.boxes_yxyx, two.boxes_yxyx, rtol=1e-3, atol=1e-2)
        assert (one.semantic_classes == two.semantic_classes).float().mean() > 0.999


def test_bf16_losses_are_near_those_of_float32_and_its_gradients_point_the_same_way() -> None:
    plain = small_network(normalization_mode="gn").train()
    mixed = small_network(normalization_mode="gn").train()
    expected = losses(plain)
    total(expected).backward()
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(mixed)
    total(found).backward()
    for name in LOSS_NAMES:
        assert found[name].dtype == torch.float32, name
        torch.testing.assert_close(found[name], expected[name], rtol=0.05, atol=0.02)
    gradients = [
        torch.cat([p.grad.flatten() for p in network.parameters()]) for network in (plain, mixed)
    ]
    assert all(g.dtype == torch.float32 for g in gradients)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.95


def test_bf16_training_learns_like_float32() -> None:
    ends = []
    for enabled in (False, True):
        network = small_network(normalization_mode="gn").train()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        values = []
        for _ in range(8):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                loss = total(losses(network))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(float(loss))
        assert values[-1] < 0.8 * values[0]
        ends.append(values[-1])
    assert ends[1] == pytest.approx(ends[0], rel=0.15)
