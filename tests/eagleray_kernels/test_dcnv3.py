"""Deformable convolution v3: against a loop over its definition, and its gradients."""

import pytest
import torch
from tests.eagleray_kernels.sampling import bilinear, random

import eagleray_kernels as kernels

PLAIN = {"kernel_size": 3, "stride": 1, "padding": 1, "dilation": 1, "offset_scale": 1.0}
UNEVEN = {
    "kernel_size": (2, 5),
    "stride": (2, 1),
    "padding": (1, 3),
    "dilation": (3, 2),
    "offset_scale": 0.7,
}


def arguments(size, channels, groups, seed, dtype=torch.float32, spread=2.0, **geometry):
    """Map, offsets and weights that fit; many positions are outside of the map."""
    settings = {**PLAIN, **geometry}
    kernel, stride, pad, dilation = (
        (n, n) if isinstance(n, int) else n
        for n in (settings[k] for k in ("kernel_size", "stride", "padding", "dilation"))
    )
    out = [
        (size[a] + 2 * pad[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)
    ]
    points = groups * kernel[0] * kernel[1]
    return (
        random(2, *size, groups * channels, seed=seed, dtype=dtype),
        random(2, *out, 2 * points, seed=seed + 1, dtype=dtype) * spread,
        random(2, *out, points, seed=seed + 2, dtype=dtype),
    ), {**settings, "groups": groups}


def by_loop(
    value, offsets, weights, *, kernel_size, stride, padding, dilation, groups, offset_scale
):
    (kh, kw), (sy, sx), (py, px), (dy, dx) = (
        (n, n) if isinstance(n, int) else n for n in (kernel_size, stride, padding, dilation)
    )
    images, out_h, out_w = offsets.shape[:3]
    offsets = offsets.reshape(images, out_h, out_w, groups, kw, kh, 2).double()
    weights = weights.reshape(images, out_h, out_w, groups, kw, kh).double()
    maps = value.reshape(*value.shape[:3], groups, -1).double()
    result = torch.zeros(images, out_h, out_w, groups, maps.shape[-1], dtype=torch.float64)
    cx, cy = dx * (kw - 1) // 2, dy * (kh - 1) // 2
    for n, i, j, g, ix, iy in (
        index for index in torch.cartesian_prod(*(torch.arange(s) for s in weights.shape)).tolist()
    ):
        ox, oy = offsets[n, i, j, g, ix, iy].tolist()
        x = cx - px + j * sx + offset_scale * (ix * dx + ox - cx)
        y = cy - py + i * sy + offset_scale * (iy * dy + oy - cy)
        result[n, i, j, g] += weights[n, i, j, g, ix, iy] * bilinear(maps[n, :, :, g], x, y)
    return result.flatten(3)


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 20, 24])
def test_core_is_that_of_a_loop(channels, implementation):
    tensors, settings = arguments((4, 5), channels, 2, seed=1)
    found = kernels.dcn_v3(*tensors, **settings)
    torch.testing.assert_close(found.double(), by_loop(*tensors, **settings), rtol=1e-4, atol=1e-4)


def test_other_kernels_strides_paddings_dilations_and_scales(implementation):
    tensors, settings = arguments((9, 8), 4, 3, seed=2, **UNEVEN)
    found = kernels.dcn_v3(*tensors, **settings)
    assert found.shape == (2, 4, 6, 12)
    torch.testing.assert_close(found.double(), by_loop(*tensors, **settings), rtol=1e-4, atol=1e-4)


def test_without_offsets_it_is_a_convolution(implementation):
    value, weight = random(1, 6, 7, 3, seed=3), random(3, 3, seed=4)
    weights = weight.T.reshape(1, 1, 1, 9).expand(1, 6, 7, 9)  # x-major
    found = kernels.dcn_v3(value, torch.zeros(1, 6, 7, 18), weights, groups=1)
    kernel = weight.expand(3, 1, 3, 3)
    wanted = torch.nn.functional.conv2d(value.permute(0, 3, 1, 2), kernel, padding=1, groups=3)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("geometry", [PLAIN, UNEVEN], ids=["plain", "uneven"])
def test_gradients(channels, geometry, implementation):
    size = (3, 4) if geometry is PLAIN else (5, 4)
    tensors, settings = arguments(size, channels, 2, 5, torch.float64, **geometry)
    leaves = [tensor[:1].requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *t: kernels.dcn_v3(*t, **settings), leaves)


def run(tensors, settings, grad):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    found = kernels.dcn_v3(*leaves, **settings)
    return found.detach(), *torch.autograd.grad(found, leaves, grad.to(found.dtype))


@pytest.mark.parametrize("channels", [4, 8, 16, 20, 32, 40, 64, 6, 72])
def test_implementations_agree_in_single_precision(channels, compiled):
    tensors, settings = arguments((7, 9), channels, 2, seed=6)
    grad = random(2, 7, 9, 2 * channels, seed=7)
    found = run(tensors, settings, grad)
    with kernels.implementation("twin"):
        wanted = run(tensors, settings, grad)
    for ours, twin in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_maps_keep_positions_in_single_precision(half, implementation):
    (value, offsets, weights), settings = arguments((40, 60), 4, 2, seed=8, spread=0.4)
    value = value.to(half)
    grad = random(2, 40, 60, 8, seed=9).to(half)
    found = run((value, offsets, weights), settings, grad)
    wanted = run((value.float(), offsets, weights), settings, grad.float())
    assert [t.dtype for t in found] == [half, half, torch.float32, torch.float32]
    step = torch.finfo(half).eps
    for ours, single in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.float(), single, rtol=step, atol=step)


def test_autocast_computes_what_it_would_without(implementation):
    tensors, settings = arguments((5, 6), 4, 2, seed=10)
    grad = random(2, 5, 6, 8, seed=11)
    wanted = run(tensors, settings, grad)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(tensors, settings, grad)
    for ours, plain in zip(found, wanted, strict=True):
        assert torch.equal(ours, plain)


def test_half_precision_offsets_are_cast(implementation):
    (value, offsets, weights), settings = arguments((5, 6), 4, 2, seed=12)
    found = kernels.dcn_v3(value, offsets.half(), weights.half(), **settings)
    wanted = kernels.dcn_v3(value, offsets.half().float(), weights.half().float(), **settings)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("far", [1e9, float("inf"), float("nan"), -3e38])
def test_positions_far_outside_and_none_at_all_count_as_zero(far, implementation):
    (value, offsets, weights), settings = arguments((5, 6), 4, 2, seed=13)
    offsets[0, 2, 3, :36:2] = far
    found, on_value, on_offsets, _ = run(
        (value, offsets, weights), settings, torch.ones(2, 5, 6, 8)
    )
    wanted = by_loop(value, offsets.nan_to_num(1e6, 1e6, -1e6), weights, **settings)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    assert on_value.isfinite().all()
    assert (on_offsets[0, 2, 3, :36:2] == 0).all()


@pytest.mark.parametrize("size", [1, 2, 8, 16, 64])
def test_the_last_position_on_a_map_reads_and_writes_nothing_behind_it(size, implementation):
    # one more is rounded up where the size is a power of two
    last = float(torch.tensor(float(size)).nextafter(torch.tensor(0.0)))
    value = torch.ones(2, size, size, 4)
    plain = {**PLAIN, "kernel_size": 1, "padding": 0, "groups": 1}
    for axis in (0, 1):
        offsets = torch.zeros(2, size, size, 2)
        at = (0, slice(None), 0, 0) if axis == 0 else (0, 0, slice(None), 1)
        offsets[at] = last
        grad = torch.zeros(2, size, size, 4)
        grad[0] = 1.0
        weights = torch.ones(2, size, size, 1)
        found, on_value, _, _ = run((value, offsets, weights), plain, grad)
        wanted = by_loop(value, offsets, weights, **plain)
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)
        assert (on_value[1] == 0).all()  # of the image behind


def test_results_do_not_depend_on_the_number_of_threads(compiled):
    tensors, settings = arguments((30, 40), 20, 3, seed=14)
    grad = random(2, 30, 40, 60, seed=15)
    threads, results = torch.get_num_threads(), []
    try:
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            results.append(run(tensors, settings, grad))
    finally:
        torch.set_num_threads(threads)
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_tensors_that_are_not_contiguous(implementation):
    tensors, settings = arguments((5, 6), 4, 2, seed=16)
    moved = [tensor.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0) for tensor in tensors]
    grad = random(2, 5, 6, 8, seed=17)
    for found, wanted in zip(
        run(moved, settings, grad.transpose(1, 2).contiguous().transpose(1, 2)),
        run(tensors, settings, grad),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted)


def test_no_images(implementation):
    tensors, settings = arguments((5, 6), 4, 2, seed=18)
    found = run([tensor[:0] for tensor in tensors], settings, torch.zeros(0, 5, 6, 8))
    assert [len(tensor) for tensor in found] == [0, 0, 0, 0]


def test_arguments_that_do_not_fit_are_refused():
    (value, offsets, weights), settings = arguments((5, 6), 4, 2, seed=19)

    def refused(match, value=value, offsets=offsets, weights=weights, **changed):
        with pytest.raises(kernels.KernelInputError, match=match):
            kernels.dcn_v3(value, offsets, weights, **{**settings, **changed})

    refused("groups must divide the 8 channels", groups=3)
    refused("groups must divide", groups=0)
    refused("stride must be .* found 0", stride=0)
    refused("kernel_size must be", kernel_size=(3, 3, 3))
    refused("too small for kernel", kernel_size=9)
    refused(r"offsets must have shape \(2, 5, 6, 36\)", offsets=offsets[:, :4])
    refused(r"weights must have shape \(2, 5, 6, 18\)", weights=offsets)
    refused("offsets is torch.float64 but value is torch.float32", offsets=offsets.double())
    refused("weights is torch.int64", weights=weights.long())
    refused("value must be float64", value=value.int())
    refused("value must have shape", value=value[0])
