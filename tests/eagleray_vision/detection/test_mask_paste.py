import pytest
import torch
from torch.nn import functional as F

from eagleray_vision.detection.mask_paste import inverse_roi_box, paste_mask_in_box

BOXES = {
    "inside": (3.2, 4.1, 30.7, 44.0),
    "over the border": (-10.0, 5.0, 20.0, 100.0),
    "whole image": (0.0, 0.0, 50.0, 61.0),
    "below a pixel": (10.0, 10.0, 10.5, 10.6),
    "far larger": (-500.0, -400.0, 700.0, 900.0),
}


def paste_whole(mask: torch.Tensor, box: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Independent reference: resample the mask at every pixel of the image with grid_sample."""
    y = (torch.arange(size[0]).double() + 0.5 - box[0]) / (box[2] - box[0])
    x = (torch.arange(size[1]).double() + 0.5 - box[1]) / (box[3] - box[1])
    grid = torch.stack(torch.broadcast_tensors(2 * x - 1, (2 * y - 1)[:, None]), -1)
    return F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]


@pytest.mark.parametrize("name", BOXES)
def test_patch_equals_the_pasted_image_and_nothing_lies_outside(name: str) -> None:
    size = (50, 61)
    mask = 0.1 + torch.rand(28, 14, generator=torch.Generator().manual_seed(0)).double()
    box = torch.tensor(BOXES[name], dtype=torch.float64)
    patch, (y0, x0, y1, x1) = paste_mask_in_box(mask, box, size)
    pasted = torch.zeros(size, dtype=torch.float64)
    pasted[y0:y1, x0:x1] = patch
    torch.testing.assert_close(pasted, paste_whole(mask, box, size))


def test_probabilities_reach_half_only_inside_of_the_box() -> None:
    box = torch.tensor([10.0, 12.0, 30.0, 50.0])
    patch, (y0, x0, _, _) = paste_mask_in_box(torch.ones(28, 28), box, (60, 60))
    rows, columns = (patch > 0.5).nonzero(as_tuple=True)
    assert (rows.min() + y0, rows.max() + y0 + 1) == (10, 30)
    assert (columns.min() + x0, columns.max() + x0 + 1) == (12, 50)


@pytest.mark.parametrize(
    "box",
    [(5.0, 5.0, 5.0, 9.0), (9.0, 9.0, 5.0, 20.0), (70.0, 5.0, 90.0, 9.0), (float("nan"),) * 4],
)
def test_boxes_without_pixels_give_an_empty_patch(box: tuple[float, ...]) -> None:
    patch, window = paste_mask_in_box(torch.ones(28, 28), torch.tensor(box), (50, 50))
    assert patch.numel() == 0
    assert window == (0, 0, 0, 0)


def test_bfloat16_masks_are_computed_in_float32() -> None:
    patch, _ = paste_mask_in_box(
        torch.ones(28, 28, dtype=torch.bfloat16), torch.tensor([0.0, 0.0, 8.0, 8.0]), (8, 8)
    )
    assert patch.dtype == torch.float32


def test_inverse_box_maps_the_box_back_to_the_mask() -> None:
    box = torch.tensor([[2.0, 4.0, 12.0, 24.0]])
    inverse = inverse_roi_box(box, (28, 28), (40, 50))[0]

    def to_mask(pixel: float, low: float, high: float, size: int) -> float:
        return low + pixel / size * (high - low)

    assert to_mask(2, inverse[0], inverse[2], 40) == pytest.approx(0, abs=1e-5)
    assert to_mask(12, inverse[0], inverse[2], 40) == pytest.approx(28)
    assert to_mask(24, inverse[1], inverse[3], 50) == pytest.approx(28)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 28, 28\)"):
        paste_mask_in_box(torch.ones(1, 28, 28), torch.zeros(4), (8, 8))
