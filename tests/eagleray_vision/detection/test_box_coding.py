import math

import pytest
import torch

from eagleray_vision.detection.box_coding import MAX_LOG_RATIO, decode_boxes, encode_boxes


def boxes(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = 100 * torch.rand(50, 2, generator=generator, dtype=torch.float64)
    extent = 1 + 80 * torch.rand(50, 2, generator=generator, dtype=torch.float64)
    return torch.cat([corner, corner + extent], dim=1)


@pytest.mark.parametrize("inclusive", [False, True])
def test_decoding_inverts_encoding(inclusive: bool) -> None:
    source, target = boxes(0), boxes(1)
    codes = encode_boxes(source, target, inclusive=inclusive)
    torch.testing.assert_close(decode_boxes(source, codes, inclusive=inclusive), target)


def test_inclusive_code_of_an_example_computed_by_hand() -> None:
    source = torch.tensor([[0.0, 0.0, 9.0, 19.0]], dtype=torch.float64)
    target = torch.tensor([[5.0, 5.0, 24.0, 14.0]], dtype=torch.float64)
    expected = [(14.5 - 4.5) / 10, (9.5 - 9.5) / 20, math.log(20 / 10), math.log(10 / 20)]
    assert encode_boxes(source, target, inclusive=True)[0].tolist() == pytest.approx(expected)


def test_large_growth_is_cut_and_small_growth_only_on_demand() -> None:
    source = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    huge = decode_boxes(source, torch.tensor([[0.0, 0.0, 50.0, 50.0]]))
    assert (huge[0, 2] - huge[0, 0]).item() == pytest.approx(1000, rel=1e-5)
    tiny = torch.tensor([[0.0, 0.0, -50.0, -50.0]])
    free = decode_boxes(source, tiny)
    assert (free[0, 2] - free[0, 0]).item() == pytest.approx(0, abs=1e-5)
    cut = decode_boxes(source, tiny, clamp_both_sides=True)
    expected = 16 * math.exp(-MAX_LOG_RATIO)
    assert (cut[0, 2] - cut[0, 0]).item() == pytest.approx(expected, rel=1e-4)


def test_a_flat_reference_gives_a_finite_code() -> None:
    flat = torch.tensor([[5.0, 5.0, 5.0, 9.0]])
    assert encode_boxes(flat, torch.tensor([[4.0, 4.0, 8.0, 8.0]])).isfinite().all()


def test_references_broadcast_over_classes() -> None:
    codes = torch.zeros(50, 3, 4, dtype=torch.float64)
    assert decode_boxes(boxes(2)[:, None], codes).shape == (50, 3, 4)
