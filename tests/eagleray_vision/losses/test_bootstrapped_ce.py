import math

import pytest
import torch
from torch.nn import functional as F

from eagleray_vision.losses.bootstrapped_ce import (
    bootstrapped_cross_entropy,
    pixel_losses,
    upsample_rows,
    upsampled_argmax,
    worst_mean,
)


def batch(seed: int = 0) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5, 7, 9, generator=generator, dtype=torch.float64)
    targets = [
        torch.randint(0, 6, size, generator=generator).masked_fill_(
            torch.rand(size, generator=generator) < 0.2, 5
        )
        for size in ((25, 33), (28, 20))
    ]
    return logits, [t.where(t != 5, 255) for t in targets]


def whole(
    logits: torch.Tensor, targets: list[torch.Tensor], fraction: float | None
) -> torch.Tensor:
    """Readable reference that holds all full-resolution logits."""
    full = F.interpolate(logits, (28, 36), mode="bilinear", align_corners=False)
    means = []
    for image, target in zip(full, targets, strict=True):
        crop = image[:, : target.shape[0], : target.shape[1]]
        losses = F.cross_entropy(crop[None], target[None], ignore_index=255, reduction="none")
        flat = losses.flatten().sort(descending=True).values
        means.append(flat[: math.ceil((fraction or 1) * flat.numel())].mean())
    return torch.stack(means).sum()


@pytest.mark.parametrize("chunk_pixels", [1, 100, 10**6])
@pytest.mark.parametrize("fraction", [None, 1.0, 0.25, 0.01])
def test_loss_and_gradient_equal_the_whole_computation(
    fraction: float | None, chunk_pixels: int
) -> None:
    logits, targets = batch()
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    total, weight = bootstrapped_cross_entropy(
        one, targets, (28, 36), fraction, chunk_pixels=chunk_pixels
    )
    expected = whole(other, targets, fraction)
    torch.testing.assert_close(total, expected)
    assert weight == 2
    total.backward()
    expected.backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_void_pixels_stay_in_the_count() -> None:
    logits, _ = batch()
    target = torch.full((28, 36), 255)
    assert worst_mean(pixel_losses(logits[0], target, (28, 36)), 0.25).item() == 0
    target[0, 0] = 1
    losses = pixel_losses(logits[0], target, (28, 36))
    assert worst_mean(losses, None).item() == pytest.approx(losses[0, 0].item() / (28 * 36))


def test_an_image_of_one_pixel() -> None:
    losses = pixel_losses(torch.randn(3, 1, 1), torch.ones(1, 1).long(), (1, 1))
    assert worst_mean(losses, 0.25).item() == losses.item()


@pytest.mark.parametrize("size", [(28, 36), (5, 4), (7, 9), (100, 10)])
def test_rows_are_those_of_the_whole_interpolation(size: tuple[int, int]) -> None:
    logits, _ = batch()
    full = F.interpolate(logits[:1], size, mode="bilinear", align_corners=False)[0]
    rows = [upsample_rows(logits[0], size, (k, k + 1)) for k in range(size[0])]
    torch.testing.assert_close(torch.cat(rows, 1), full)


def test_argmax_equals_that_of_the_whole_interpolation_and_takes_the_first_on_ties() -> None:
    logits, _ = batch()
    full = F.interpolate(logits, (28, 36), mode="bilinear", align_corners=False)
    found = upsampled_argmax(logits[1], (28, 36), (20, 31), chunk_pixels=50)
    assert torch.equal(found, full[1, :, :20, :31].argmax(0))
    assert (upsampled_argmax(torch.zeros(4, 3, 3), (9, 9), (9, 9)) == 0).all()


def test_bfloat16_logits_are_upsampled_in_float32() -> None:
    logits = torch.randn(3, 4, 4).bfloat16()
    target = torch.zeros(16, 16).long()
    torch.testing.assert_close(
        pixel_losses(logits, target, (16, 16)), pixel_losses(logits.float(), target, (16, 16))
    )
