import pytest
import torch
import torchvision
from torch.nn import functional as F

from eagleray_vision.detection.roi_sampling import (
    fpn_levels,
    roi_align,
    roi_sample,
    roi_sample_fpn,
    shift_scaled_boxes,
)


def sample_with_grid(
    x: torch.Tensor, boxes: torch.Tensor, batch_idx: torch.Tensor, size: tuple[int, int], **how: str
) -> torch.Tensor:
    """Independent reference: torch's grid_sample, one box at a time."""
    out = []
    for box, image in zip(boxes, batch_idx.tolist(), strict=True):
        y = box[0] + (torch.arange(size[0]).double() + 0.5) / size[0] * (box[2] - box[0])
        z = box[1] + (torch.arange(size[1]).double() + 0.5) / size[1] * (box[3] - box[1])
        grid = torch.stack(
            torch.broadcast_tensors(2 * z / x.shape[3] - 1, (2 * y / x.shape[2] - 1)[:, None]), -1
        )
        out.append(F.grid_sample(x[[image]], grid[None], align_corners=False, **how)[0])
    return torch.stack(out)


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 9, 13, generator=generator, dtype=torch.float64)
    boxes = 14 * torch.rand(7, 4, generator=generator, dtype=torch.float64) - 2
    boxes[0] = torch.tensor([-6.0, -5.0, 30.0, 40.0])  # far larger than the map
    boxes[1, 2:] = boxes[1, :2]  # without area
    return x, boxes, torch.tensor([0, 0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_agrees_with_grid_sample(scene: tuple, mode: str, padding: str) -> None:
    x, boxes, idx = scene
    found = roi_sample(x, boxes, idx, (4, 6), interpolation=mode, padding=padding)  # type: ignore[arg-type]
    torch.testing.assert_close(
        found, sample_with_grid(x, boxes, idx, (4, 6), mode=mode, padding_mode=padding)
    )


@pytest.mark.parametrize("average", [1, 2])
def test_gradient_of_the_features(scene: tuple, average: int) -> None:
    x, boxes, idx = scene
    x = x[:, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: roi_sample(v, boxes, idx, (4, 4), average=average), (x,)
    )


def test_averaging_equals_pooling_the_samples(scene: tuple) -> None:
    x, boxes, idx = scene
    plain = roi_sample(x, boxes, idx, (6, 4))
    torch.testing.assert_close(roi_sample(x, boxes, idx, (6, 4), average=2), F.avg_pool2d(plain, 2))


def test_averaged_samples_are_half_pixel_roi_align() -> None:
    x = torch.randn(1, 4, 16, 20, dtype=torch.float64)
    boxes = torch.tensor([[2.0, 3.0, 9.0, 15.0], [1.0, 1.0, 2.0, 1.5]], dtype=torch.float64)
    idx = torch.zeros(2, dtype=torch.int64)
    aligned = torchvision.ops.roi_align(x, [boxes[:, [1, 0, 3, 2]]], 7, 1.0, 2, aligned=True)
    torch.testing.assert_close(roi_sample(x, boxes, idx, (14, 14), average=2), aligned)


def test_integer_labels_stay_integers_and_pad_with_zero() -> None:
    labels = torch.arange(1, 13).view(1, 1, 3, 4)
    box = torch.tensor([[0.0, 0.0, 6.0, 4.0]])
    idx = torch.zeros(1, dtype=torch.int64)
    border = roi_sample(labels, box, idx, (6, 4), interpolation="nearest")
    zeros = roi_sample(labels, box, idx, (6, 4), interpolation="nearest", padding="zeros")
    assert border.dtype == torch.int64
    assert torch.equal(border[0, 0, :3], labels[0, 0])
    assert torch.equal(border[0, 0, 3:], labels[0, 0, 2:].expand(3, 4))
    assert torch.equal(zeros[0, 0, 3:], torch.zeros(3, 4).long())


def test_no_boxes_still_reach_the_features() -> None:
    x = torch.randn(2, 3, 5, 6, requires_grad=True)
    none = roi_sample(x, torch.zeros(0, 4), torch.zeros(0).long(), (14, 14), average=2)
    assert none.shape == (0, 3, 7, 7)
    none.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_bfloat16_is_summed_in_float32() -> None:
    x = torch.randn(1, 3, 8, 8).bfloat16()
    box = torch.tensor([[0.3, 0.7, 6.1, 7.7]])
    idx = torch.zeros(1, dtype=torch.int64)
    found = roi_sample(x, box, idx, (4, 4))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, roi_sample(x.float(), box, idx, (4, 4)).bfloat16())


def test_what_cannot_be_averaged_is_refused() -> None:
    x, box, idx = torch.zeros(1, 1, 4, 4), torch.zeros(1, 4), torch.zeros(1).long()
    with pytest.raises(ValueError, match="blocks of 2"):
        roi_sample(x, box, idx, (3, 4), average=2)
    with pytest.raises(ValueError, match="nearest"):
        roi_sample(x.long(), box, idx, (4, 4))


@pytest.mark.parametrize(
    ("side", "level"), [(1.0, 0), (111.9, 0), (112.0, 1), (224.0, 2), (447.0, 2), (5000.0, 3)]
)
def test_levels_change_at_halves_of_the_canonical_size(side: float, level: int) -> None:
    box = torch.tensor([[10.0, 10.0, 10.0 + side, 10.0 + side]])
    assert fpn_levels(box, 4).item() == level


@pytest.mark.parametrize(("side", "level"), [(111, 0), (112, 1), (224, 2), (448, 3), (9000, 3)])
def test_inclusive_levels_of_the_older_convention(side: int, level: int) -> None:
    box = torch.tensor([[0.0, 0.0, side - 1.0, side - 1.0]])
    found = fpn_levels(box, 4, canonical_scale=56, canonical_level=0, inclusive=True)
    assert found.item() == level


def test_pyramid_sampling_puts_every_box_back_in_its_place() -> None:
    generator = torch.Generator().manual_seed(1)
    levels = [torch.randn(2, 3, 64 >> k, 96 >> k, generator=generator) for k in range(4)]
    corner = 100 * torch.rand(9, 2, generator=generator)
    side = torch.tensor([10.0, 900, 150, 300, 20, 600, 120, 240, 500])[:, None]
    boxes, idx = torch.cat([corner, corner + side], 1), torch.arange(9) % 2
    found = roi_sample_fpn(levels, boxes, idx, (256, 384), (4, 4))
    for k, level in enumerate(fpn_levels(boxes, 4).tolist()):
        size = (levels[level].shape[2], levels[level].shape[3])
        scaled = shift_scaled_boxes(boxes[[k]], size, (256, 384))
        torch.testing.assert_close(found[[k]], roi_sample(levels[level], scaled, idx[[k]], (4, 4)))


@pytest.mark.parametrize("half_pixel", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_roi_align_equals_torchvision(scene: tuple, half_pixel: bool, samples: int) -> None:
    x, boxes, idx = scene
    boxes = 4 * torch.cat(
        [boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1
    )
    found = roi_align(
        x,
        boxes,
        idx,
        (7, 5),
        stride=4,
        samples=samples,
        half_pixel=half_pixel,
        min_side=0.0 if half_pixel else 1.0,
    )
    rois = torch.cat([idx[:, None].double(), boxes[:, [1, 0, 3, 2]]], 1)
    expected = torchvision.ops.roi_align(x, rois, (7, 5), 0.25, samples, half_pixel)
    torch.testing.assert_close(found, expected)
