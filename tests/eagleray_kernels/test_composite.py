"""Compositing: against a loop over samples in double precision, sample by sample."""

import math

import pytest
import torch
from tests.eagleray_kernels.scenes import packed_samples

import eagleray_kernels as kernels


def composite_by_loop(samples, threshold):
    """The definition, on Python floats."""
    num_rays, num_samples = len(samples["packed_info"]), len(samples["t_starts"])
    total = torch.zeros(num_rays, dtype=torch.long)
    opacity, depth = torch.zeros(2, num_rays, dtype=torch.float64).unbind(0)
    rgb = torch.zeros(num_rays, samples["rgbs"].shape[1], dtype=torch.float64)
    features = torch.zeros(num_rays, samples["feats"].shape[1], dtype=torch.float64)
    weights = torch.zeros(num_samples, dtype=torch.float64)
    for ray, start, count in samples["packed_info"].tolist():
        transmittance = 1.0
        for s in range(start, start + count):
            alpha = 1.0 - math.exp(-float(samples["sigmas"][s]) * float(samples["step_sizes"][s]))
            weights[s] = alpha * transmittance
            opacity[ray] += weights[s]
            depth[ray] += weights[s] * samples["t_starts"][s]
            rgb[ray] += weights[s] * samples["rgbs"][s]
            features[ray] += weights[s] * samples["feats"][s]
            transmittance *= 1.0 - alpha
            if transmittance <= threshold:
                break
            total[ray] += 1
    return kernels.Composite(total, opacity, depth, rgb, features, weights)


@pytest.mark.parametrize("channels", [(3, 0), (3, 1), (1, 16), (0, 7), (4, 6)])
@pytest.mark.parametrize("threshold", [1e-4, 0.3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_sums_are_those_of_a_loop(channels, threshold, shuffle, implementation):
    samples = packed_samples(60, seed=1, channels=channels, shuffle=shuffle)
    found = kernels.composite_training_rays(**samples, threshold=threshold)
    wanted = composite_by_loop(samples, threshold)
    assert torch.equal(found.total_samples, wanted.total_samples)
    assert (found.total_samples < samples["packed_info"][:, 2].max()).any()
    for name in ("opacity", "depth", "rgb", "features", "weights"):
        value = getattr(found, name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), getattr(wanted, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threshold", [1e-4, 0.3])
def test_gradient(threshold, implementation):
    samples = packed_samples(7, seed=2, dtype=torch.float64)
    leaves = [samples.pop(name).requires_grad_() for name in ("sigmas", "rgbs", "feats")]

    def render(sigmas, rgbs, feats):
        out = kernels.composite_training_rays(sigmas, rgbs, feats, **samples, threshold=threshold)
        return out.opacity, out.depth, out.rgb, out.features, out.weights

    assert torch.autograd.gradcheck(render, leaves)


@pytest.mark.parametrize("needed", ["sigmas", "rgbs", "feats"])
def test_gradient_of_one_input_alone(needed, implementation):
    samples = packed_samples(9, seed=3, dtype=torch.float64)
    everything = {k: samples[k].clone().requires_grad_() for k in ("sigmas", "rgbs", "feats")}
    alone = {**samples, needed: samples[needed].clone().requires_grad_()}
    for arguments in ({**samples, **everything}, alone):
        out = kernels.composite_training_rays(**arguments)
        (out.rgb.sum() + (out.features**2).sum() + out.depth.sum()).backward()
    torch.testing.assert_close(alone[needed].grad, everything[needed].grad)


def test_faithful_and_exact_gradient_agree_on_rays_with_one_sample(implementation):
    samples = packed_samples(20, seed=4, dtype=torch.float64, shuffle=False)
    counts = samples["packed_info"][:, 2].clamp(max=1)
    samples["packed_info"] = torch.stack(
        [torch.arange(20), samples["packed_info"][:, 1], counts], 1
    )
    grads = {}
    for faithful in (True, False):
        sigmas = samples["sigmas"].clone().requires_grad_()
        out = kernels.composite_training_rays(**{**samples, "sigmas": sigmas}, faithful=faithful)
        out.features.sum().backward()
        grads[faithful] = sigmas.grad
    torch.testing.assert_close(grads[True], grads[False])


def test_faithful_gradient_differs_where_rays_have_more_samples(implementation):
    samples = packed_samples(20, seed=4, dtype=torch.float64)
    grads = []
    for faithful in (True, False):
        sigmas = samples["sigmas"].clone().requires_grad_()
        out = kernels.composite_training_rays(**{**samples, "sigmas": sigmas}, faithful=faithful)
        out.features.sum().backward()
        grads.append(sigmas.grad)
    assert (grads[0] - grads[1]).abs().max() > 1e-3


def test_samples_behind_the_stop_have_no_weight_and_no_gradient(implementation):
    sigmas = torch.tensor([1.0, 1e4, 1.0, 1.0]).requires_grad_()
    rgbs = torch.ones(4, 3).requires_grad_()
    out = kernels.composite_training_rays(
        sigmas, rgbs, None, torch.ones(4), torch.arange(4.0), torch.tensor([[0, 0, 4]])
    )
    assert out.total_samples.tolist() == [1]
    assert out.weights[2:].tolist() == [0.0, 0.0]
    assert out.opacity.item() == pytest.approx(1.0)
    (out.rgb * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert sigmas.grad[2:].tolist() == [0.0, 0.0]
    assert rgbs.grad[2:].abs().sum() == 0.0


def test_rays_and_samples_that_no_row_names_stay_empty(implementation):
    samples = packed_samples(5, seed=5, shuffle=False)
    samples["packed_info"] = samples["packed_info"][[2, 4]] * torch.tensor([[0, 1, 1], [0, 1, 1]])
    samples["packed_info"][:, 0] = torch.tensor([1, 0])
    named = torch.zeros(len(samples["t_starts"]), dtype=torch.bool)
    for _, start, count in samples["packed_info"].tolist():
        named[start : start + count] = True
    samples["rgbs"].requires_grad_()
    out = kernels.composite_training_rays(**samples)
    assert (out.weights[~named] == 0).all()
    assert (out.weights[named] > 0).all()
    out.rgb.sum().backward()
    assert (samples["rgbs"].grad[~named] == 0).all()
    assert out.opacity[1].item() == pytest.approx(
        float(out.weights[named][: samples["packed_info"][0, 2]].sum())
    )


def test_rows_that_point_outside_touch_no_foreign_memory(compiled):
    samples = packed_samples(3, seed=6, shuffle=False)
    num_samples = len(samples["t_starts"])
    samples["packed_info"] = torch.tensor([[0, num_samples - 1, 5], [9, 0, 1], [2, -1, 1]])
    out = kernels.composite_training_rays(**samples)
    assert out.opacity.tolist() == [0.0, 0.0, 0.0]
    assert (out.weights == 0).all()


def test_no_rays_and_no_samples(implementation):
    empty = torch.zeros(0, requires_grad=True)
    out = kernels.composite_training_rays(
        empty, torch.zeros(0, 3), None, empty, empty, torch.zeros(2, 3, dtype=torch.long)
    )
    assert out.rgb.tolist() == [[0.0] * 3] * 2
    out.rgb.sum().backward()
    assert empty.grad.shape == (0,)


def test_half_precision_is_computed_in_single(implementation):
    samples = packed_samples(8, seed=7)
    halves = {k: v if k == "packed_info" else v.half() for k, v in samples.items()}
    singles = {k: v if k == "packed_info" else v.half().float() for k, v in samples.items()}
    found = kernels.composite_training_rays(**halves)
    assert found.rgb.dtype == torch.float32
    torch.testing.assert_close(found.rgb, kernels.composite_training_rays(**singles).rgb)


def live_state(num_rays, channels):
    generator = torch.Generator().manual_seed(8)
    opacity = torch.rand(num_rays, generator=generator) * 0.9
    return {
        "opacity": opacity,
        "depth": opacity * 2.0,
        "rgb": torch.rand(num_rays, channels[0], generator=generator),
        "features": torch.rand(num_rays, channels[1], generator=generator),
    }


@pytest.mark.parametrize("channels", [(3, 0), (3, 5)])
def test_live_rays_gather_what_training_rays_do(channels, implementation):
    """Samples in rounds of 3, from nothing, equal all samples at once."""
    generator = torch.Generator().manual_seed(9)
    num_rays, total = 12, 9
    values = {
        "sigmas": torch.rand(num_rays, total, generator=generator)
        * torch.linspace(0.5, 6.0, num_rays)[:, None],
        "rgbs": torch.rand(num_rays, total, channels[0], generator=generator),
        "feats": torch.rand(num_rays, total, channels[1], generator=generator),
        "step_sizes": torch.full((num_rays, total), 0.3),
        "t_starts": torch.arange(total) * torch.full((num_rays, 1), 0.3),
    }
    packed_info = torch.stack([torch.arange(num_rays), torch.arange(num_rays) * total], 1)
    packed_info = torch.cat([packed_info, torch.full((num_rays, 1), total)], 1)
    wanted = kernels.composite_training_rays(
        **{name: value.flatten(0, 1) for name, value in values.items()},
        packed_info=packed_info,
        threshold=1e-2,
    )
    state = {
        name: torch.zeros_like(value) for name, value in live_state(num_rays, channels).items()
    }
    alive = torch.arange(num_rays)
    for begin in range(0, total, 3):
        rows = alive.clamp(min=0)
        kernels.composite_live_rays_(
            **{name: value[rows, begin : begin + 3] for name, value in values.items()},
            counts=torch.full((num_rays,), 3, dtype=torch.int32),
            threshold=1e-2,
            alive=alive,
            **state,
        )
    stopped = wanted.total_samples < total
    assert stopped.any() and not stopped.all()
    assert torch.equal(alive < 0, stopped)
    for name, value in state.items():
        torch.testing.assert_close(value, getattr(wanted, name), rtol=1e-5, atol=1e-6)


def test_live_rays_without_samples_retire_and_keep_their_state(implementation):
    state = live_state(4, (3, 2))
    before = {name: value.clone() for name, value in state.items()}
    alive = torch.tensor([3, -1])
    kernels.composite_live_rays_(
        torch.ones(2, 5),
        torch.ones(2, 5, 3),
        torch.ones(2, 5, 2),
        torch.ones(2, 5),
        torch.ones(2, 5),
        torch.tensor([0, 5], dtype=torch.int32),
        threshold=1e-2,
        alive=alive,
        **state,
    )
    assert alive.tolist() == [-1, -1]
    for name, value in before.items():
        assert torch.equal(state[name], value)


def test_arguments_that_do_not_fit_are_refused():
    samples = packed_samples(3, seed=10)
    with pytest.raises(kernels.KernelInputError, match="rgbs must have"):
        kernels.composite_training_rays(**{**samples, "rgbs": samples["rgbs"][:-1]})
    with pytest.raises(kernels.KernelInputError, match=r"packed_info must have shape \(N, 3\)"):
        kernels.composite_training_rays(**{**samples, "packed_info": torch.zeros(3, 2)})
    state = live_state(4, (3, 2))
    state["rgb"] = state["rgb"].double()
    ones = torch.ones(1, 2)
    with pytest.raises(kernels.KernelInputError, match="rgb is updated in place"):
        kernels.composite_live_rays_(
            ones,
            torch.ones(1, 2, 3),
            torch.ones(1, 2, 2),
            ones,
            ones,
            torch.ones(1).int(),
            threshold=0.1,
            alive=torch.tensor([0]),
            **state,
        )
