import pytest
import torch
from torch.nn import functional as F

from eagleray_vision.layers.window_pool import window_average_pool


def pool(x: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """Independent reference: torch's own pooling, then replicated borders."""
    k = min(window[0], x.shape[2]), min(window[1], x.shape[3])
    pads = []
    for size in reversed(k):
        before = (size - 1) // 2
        pads += [before, before + (1 - size % 2)]
    return F.pad(F.avg_pool2d(x, k, stride=1), pads, mode="replicate")


@pytest.mark.parametrize("window", [(1, 1), (3, 5), (4, 6), (5, 4), (64, 64), (64, 1)])
def test_agrees_with_torch_pooling(window: tuple[int, int]) -> None:
    x = 50 + torch.randn(2, 3, 11, 17, dtype=torch.float64)
    found = window_average_pool(x, window)
    assert found.shape == x.shape
    torch.testing.assert_close(found, pool(x, window))


def test_gradient() -> None:
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: window_average_pool(v, (4, 3)), (x,))


def test_one_cell_and_no_image() -> None:
    assert window_average_pool(torch.full((1, 2, 1, 1), 3.0), (64, 64)).flatten().tolist() == [3, 3]
    assert window_average_pool(torch.zeros(0, 2, 4, 4), (64, 64)).shape == (0, 2, 4, 4)


def test_float32_stays_accurate_on_wide_maps() -> None:
    x = 10 + torch.rand(1, 1, 64, 2048)
    torch.testing.assert_close(
        window_average_pool(x, (64, 64)).double(), pool(x.double(), (64, 64)), rtol=1e-4, atol=0
    )


def test_bfloat16_is_summed_in_float32() -> None:
    x = torch.ones(1, 1, 32, 1024, dtype=torch.bfloat16)
    assert torch.equal(window_average_pool(x, (64, 64)), x)
