"""PSNR and SSIM of rendered views."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float64]

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def psnr_from_mse(mean_squared_error: float) -> float:
    """Return the peak signal-to-noise ratio in dB for values in [0, 1]."""
    return math.inf if mean_squared_error <= 0 else -10.0 * math.log10(mean_squared_error)


def ssim(image: FloatImage, truth: FloatImage) -> float:
    """Return the structural similarity (Wang et al. 2004) with an 11-pixel Gaussian window.

    Args:
        image: (H, W, 3) in [0, 1].
        truth: The same.

    Returns:
        The mean over pixels whose window lies inside the image, and over channels.
    """
    c1, c2 = _K1**2, _K2**2
    mean_x, mean_y = _smooth(image), _smooth(truth)
    var_x = _smooth(image * image) - mean_x**2
    var_y = _smooth(truth * truth) - mean_y**2
    shared = _smooth(image * truth) - mean_x * mean_y
    top = (2 * mean_x * mean_y + c1) * (2 * shared + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float((top / bottom).mean())


def _smooth(values: FloatImage) -> FloatImage:
    blurred = cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA)
    edge = _WINDOW // 2
    return np.asarray(blurred[edge:-edge, edge:-edge], np.float64)
