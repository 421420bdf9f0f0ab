"""Paste small per-box masks into an image, one at a time and only where they are not zero.

A detection's mask is a small grid (28 x 28 in Mask R-CNN) that covers its box. Pasting resamples
the grid at the pixel centers of the image: pixel ``(i, j)`` has its center at
``(i + 0.5, j + 0.5)`` and mask cell ``(k, l)`` at ``(k + 0.5, l + 0.5)`` in mask units.
Interpolation is bilinear and cells outside the grid count as zero ("zero padding"), so a pasted
mask is zero everywhere but in the box widened by half a mask cell. Only that window is computed: n
masks of an image of H x W pixels cost their boxes' areas and never n * H * W numbers.

Source: Porzi et al., "Seamless Scene Segmentation", CVPR 2019, panoptic fusion.
"""

import math

import torch
from torch import Tensor


def inverse_roi_box(
    boxes_yxyx: Tensor, mask_size: tuple[int, int], image_size: tuple[int, int]
) -> Tensor:
    """Express the whole image as a box in the coordinates of each box's mask.

    Sampling a mask over its inverse box on an image-sized grid pastes the mask into the image.

    Args:
        boxes_yxyx: Boxes in pixels, edges based, shape ``(n, 4)``, floating point.
        mask_size: Height and width of the masks in cells.
        image_size: Height and width of the image in pixels.

    Returns:
        ``(n, 4)`` boxes in mask cells: ``(-m y0 / h, -m x0 / w, m (H - y0) / h, m (W - x0) / w)``.
        Empty boxes give infinite or NaN coordinates.
    """
    top_left, bottom_right = boxes_yxyx[:, :2], boxes_yxyx[:, 2:]
    mask = boxes_yxyx.new_tensor(mask_size)
    image = boxes_yxyx.new_tensor(image_size)
    extent = bottom_right - top_left
    return torch.cat([-mask * top_left / extent, mask * (image - top_left) / extent], dim=1)


def _window(start: float, stop: float, cells: int, size: int) -> tuple[int, int]:
    """Return the pixels whose centers see the mask: the box widened by half a cell each side."""
    margin = (stop - start) / cells / 2
    first = math.ceil(start - margin - 0.5)
    last = math.floor(stop + margin - 0.5)
    return min(max(first, 0), size), max(min(last + 1, size), 0)


def _interpolation_matrix(
    low: Tensor, high: Tensor, cells: int, size: int, window: tuple[int, int]
) -> Tensor:
    """Return the ``(window, cells)`` bilinear weights of one axis; outside cells have none."""
    pixels = torch.arange(*window, device=low.device, dtype=low.dtype)
    position = low + (pixels + 0.5) / size * (high - low) - 0.5
    below = position.floor()
    fraction = (position - below).unsqueeze(1)
    offset = torch.arange(cells, device=low.device, dtype=low.dtype) - below.unsqueeze(1)
    return torch.where(offset == 0, 1 - fraction, 0) + torch.where(offset == 1, fraction, 0)


def paste_mask_in_box(
    mask: Tensor, box_yxyx: Tensor, image_size: tuple[int, int]
) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Resample one mask at the pixels of the image that it can reach.

    Args:
        mask: Probabilities or logits, shape ``(h, w)``, floating point. The half types are
            computed in float32.
        box_yxyx: The mask's box in pixels of the image, edges based, shape ``(4,)``.
        image_size: Height and width of the image in pixels.

    Returns:
        The patch, float32 (float64 if the mask is), shape ``(y1 - y0, x1 - x0)``, and its place
        ``(y0, x0, y1, x1)`` in whole pixels, inside the image. The pasted mask is zero outside of
        the patch. A box that is empty or outside of the image gives an empty patch.

    Raises:
        ValueError: If the mask is not two-dimensional or the box has not four coordinates.

    Example:
        >>> box_yxyx = torch.tensor([1.0, 1.0, 3.0, 3.0])
        >>> patch, window = paste_mask_in_box(torch.ones(2, 2), box_yxyx, (4, 4))
        >>> window, patch[1, 1].item()
        ((0, 0, 4, 4), 1.0)
    """
    if mask.ndim != 2 or box_yxyx.shape != (4,):
        raise ValueError(
            f"paste_mask_in_box needs one (h, w) mask and one (4,) box, found shapes "
            f"{tuple(mask.shape)} and {tuple(box_yxyx.shape)}"
        )
    if mask.dtype not in (torch.float32, torch.float64):
        mask = mask.float()
    box = box_yxyx.to(dtype=mask.dtype)
    y0, x0, y1, x1 = box.tolist()
    height, width = image_size
    if not (y1 > y0 and x1 > x0):
        return mask.new_zeros(0, 0), (0, 0, 0, 0)
    rows = _window(y0, y1, mask.shape[0], height)
    columns = _window(x0, x1, mask.shape[1], width)
    if rows[1] <= rows[0] or columns[1] <= columns[0]:
        return mask.new_zeros(0, 0), (0, 0, 0, 0)
    top, left, bottom, right = inverse_roi_box(
        box.unsqueeze(0), (mask.shape[0], mask.shape[1]), image_size
    )[0]
    vertical = _interpolation_matrix(top, bottom, mask.shape[0], height, rows)
    horizontal = _interpolation_matrix(left, right, mask.shape[1], width, columns)
    patch = vertical @ mask @ horizontal.T
    return patch, (rows[0], columns[0], rows[1], columns[1])
