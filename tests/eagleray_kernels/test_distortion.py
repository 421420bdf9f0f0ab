import pytest
import torch
from tests.eagleray_kernels.scenes import packed_samples

import eagleray_kernels as kernels


def distortion_by_pairs(weights, step_sizes, t_starts, packed_info):
    """Equation 15 of mip-NeRF 360, pair by pair."""
    loss = torch.zeros(len(packed_info), dtype=torch.float64)
    for ray, start, count in packed_info.tolist():
        w, t, delta = (v[start : start + count].double() for v in (weights, t_starts, step_sizes))
        pairs = (w[:, None] * w * (t[:, None] - t).abs()).sum()
        loss[ray] = pairs + (w**2 * delta).sum() / 3
    return loss


def test_loss_is_the_sum_over_pairs(implementation):
    samples = packed_samples(40, seed=8)
    weights = torch.rand(len(samples["t_starts"]), generator=torch.Generator().manual_seed(9))
    places = samples["step_sizes"], samples["t_starts"], samples["packed_info"]
    found = kernels.distortion_loss(weights, *places)
    wanted = distortion_by_pairs(weights, *places)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_ray_without_samples_costs_nothing(implementation):
    packed_info = torch.tensor([[1, 0, 0], [0, 0, 2]])
    found = kernels.distortion_loss(
        torch.tensor([0.5, 0.5]), torch.ones(2), torch.tensor([0.0, 1.0]), packed_info
    )
    assert found[1] == 0.0
    assert found[0] == pytest.approx(2 * 0.25 + 0.5 / 3)


def test_gradient(implementation):
    samples = packed_samples(6, seed=10, dtype=torch.float64)
    weights = torch.rand_like(samples["t_starts"]).requires_grad_()
    places = samples["step_sizes"], samples["t_starts"], samples["packed_info"]
    assert torch.autograd.gradcheck(lambda w: kernels.distortion_loss(w, *places), (weights,))


def test_no_rays(implementation):
    empty = torch.zeros(0)
    found = kernels.distortion_loss(empty, empty, empty, torch.zeros(0, 3, dtype=torch.long))
    assert found.shape == (0,)


def test_samples_that_do_not_match_are_refused():
    with pytest.raises(kernels.KernelInputError, match="t_starts must have 3 rows, found 2"):
        kernels.distortion_loss(
            torch.zeros(3), torch.zeros(3), torch.zeros(2), torch.zeros(1, 3, dtype=torch.long)
        )
