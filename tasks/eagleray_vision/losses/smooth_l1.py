"""Smooth L1 (Huber-like) loss of box codes (Girshick, "Fast R-CNN", ICCV 2015, equation 3)."""

from torch import Tensor
from torch.nn import functional as F


def smooth_l1(prediction: Tensor, target: Tensor, sigma: float) -> Tensor:
    """Return sigma^2 / 2 * d^2 where |d| < 1 / sigma^2, else |d| - 0.5 / sigma^2, per element.

    Args:
        prediction: Floating point, any shape.
        target: The same shape.
        sigma: Sharpness; 1 / sigma^2 is the "beta" of other libraries.
    """
    return F.smooth_l1_loss(prediction, target, reduction="none", beta=1 / sigma**2)
