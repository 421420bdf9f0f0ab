"""Multi-scale deformable attention: against a loop over its definition, and its gradients."""

import pytest
import torch
from tests.eagleray_kernels.sampling import bilinear, random

import eagleray_kernels as kernels

SHAPES = ((4, 6), (2, 3), (1, 1))


def arguments(channels, seed, queries=5, points=2, heads=3, shapes=SHAPES, dtype=torch.float32):
    """Maps, locations and weights; some locations are outside."""
    rows = sum(height * width for height, width in shapes)
    places = 2, queries, heads, len(shapes), points
    return (
        random(2, rows, heads, channels, seed=seed, dtype=dtype),
        0.5 + 0.5 * random(*places, 2, seed=seed + 1, dtype=dtype),
        random(*places, seed=seed + 2, dtype=dtype),
    )


def by_loop(value, shapes, locations, weights):
    batch, queries, heads, _, points = weights.shape
    result = torch.zeros(batch, queries, heads, value.shape[3], dtype=torch.float64)
    start = 0
    for level, (height, width) in enumerate(shapes):
        maps = value[:, start : start + height * width].double()
        maps = maps.reshape(batch, height, width, heads, -1)
        start += height * width
        for b, q, m, p in torch.cartesian_prod(
            *(torch.arange(size) for size in (batch, queries, heads, points))
        ).tolist():
            u, v = locations[b, q, m, level, p].tolist()
            sample = bilinear(maps[b, :, :, m], u * width - 0.5, v * height - 0.5)
            result[b, q, m] += float(weights[b, q, m, level, p]) * sample
    return result.flatten(2)


@pytest.mark.parametrize("channels", [1, 3, 8, 32])
def test_attention_is_that_of_a_loop(channels, implementation):
    value, locations, weights = arguments(channels, 1)
    found = kernels.deformable_attention(value, SHAPES, locations, weights)
    wanted = by_loop(value, SHAPES, locations, weights)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


def test_shapes_as_a_tensor(implementation):
    value, locations, weights = arguments(4, 2)
    found = kernels.deformable_attention(value, torch.tensor(SHAPES), locations, weights)
    wanted = kernels.deformable_attention(value, SHAPES, locations, weights)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("channels", [3, 4])
def test_gradients(channels, implementation):
    leaves = [
        tensor[:1].requires_grad_()
        for tensor in arguments(channels, 3, queries=3, heads=2, dtype=torch.float64)
    ]
    assert torch.autograd.gradcheck(
        lambda value, *rest: kernels.deformable_attention(value, SHAPES, *rest), leaves
    )


def run(value, locations, weights, grad, shapes=SHAPES):
    leaves = [tensor.clone().requires_grad_() for tensor in (value, locations, weights)]
    found = kernels.deformable_attention(leaves[0], shapes, *leaves[1:])
    return found.detach(), *torch.autograd.grad(found, leaves, grad)


@pytest.mark.parametrize("channels", [4, 8, 16, 20, 32, 40, 64, 6, 72])
def test_implementations_agree_in_single_precision(channels, compiled):
    tensors, grad = arguments(channels, 4, queries=40), random(2, 40, 3 * channels, seed=5)
    found = run(*tensors, grad)
    with kernels.implementation("twin"):
        wanted = run(*tensors, grad)
    for ours, twin in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-4, atol=3e-4)


def test_float32_inside_of_autocast(implementation):
    value, locations, weights = arguments(8, 6)
    value = value.bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = kernels.deformable_attention(value.bfloat16(), SHAPES, locations, weights)
    assert found.dtype == torch.float32
    assert torch.equal(found, kernels.deformable_attention(value, SHAPES, locations, weights))


@pytest.mark.parametrize("far", [1e9, float("inf"), float("nan"), -3e38])
def test_locations_far_outside_and_none_at_all_count_as_zero(far, implementation):
    value, locations, weights = arguments(4, 7)
    locations[0, 1, :, :, 0, 0] = far
    found, on_value, on_locations, _ = run(value, locations, weights, torch.ones(2, 5, 12))
    wanted = by_loop(value, SHAPES, locations.nan_to_num(1e6, 1e6, -1e6), weights)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    assert on_value.isfinite().all()
    assert (on_locations[0, 1, :, :, 0, 0] == 0).all()


def test_results_do_not_depend_on_the_number_of_threads(compiled):
    shapes = ((20, 30), (10, 15))
    tensors = arguments(32, 8, queries=400, shapes=shapes)
    grad = random(2, 400, 96, seed=9)
    threads, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            results.append(run(*tensors, grad, shapes))
    finally:
        torch.set_num_threads(threads)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_no_queries(implementation):
    found = run(*arguments(4, 10, queries=0), torch.zeros(2, 0, 12))
    assert found[0].shape == (2, 0, 12)
    assert (found[1] == 0).all()


def test_arguments_that_do_not_fit_are_refused():
    value, locations, weights = arguments(4, 11)

    def refused(match, value=value, shapes=SHAPES, locations=locations, weights=weights):
        with pytest.raises(kernels.KernelInputError, match=match):
            kernels.deformable_attention(value, shapes, locations, weights)

    refused("value must have 31 rows .* found 30", value=value[:, :30])
    refused("spatial_shapes must be", shapes=())
    refused("spatial_shapes must be", shapes=((31, 1, 1),))
    refused("spatial_shapes must be", shapes=((-31, -1),))
    refused("locations must have shape", shapes=((31, 1),))
    refused("locations must have shape", locations=locations[:, :, :2])
    refused("weights must have shape", weights=weights[:, :4])
    refused("weights is torch.float64 but value is torch.float32", weights=weights.double())
