"""Real spherical harmonics, written out."""

import torch
from torch import Tensor


def spherical_harmonics(directions: Tensor, degree: int) -> Tensor:
    """Twin of `torch.ops.eagleray.spherical_harmonics`."""
    x, y, z = directions.unbind(-1)
    values = [
        0.28209479177387814 * torch.ones_like(x),
        -0.48860251190291987 * y,
        0.48860251190291987 * z,
        -0.48860251190291987 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.94617469575755997 * z**2 - 0.31539156525251999,
        -1.0925484305920792 * x * z,
        0.54627421529603959 * (x**2 - y**2),
        0.59004358992664352 * y * (-3.0 * x**2 + y**2),
        2.8906114426405538 * x * y * z,
        0.45704579946446572 * y * (1.0 - 5.0 * z**2),
        0.3731763325901154 * z * (5.0 * z**2 - 3.0),
        0.45704579946446572 * x * (1.0 - 5.0 * z**2),
        1.4453057213202769 * z * (x**2 - y**2),
        0.59004358992664352 * x * (-(x**2) + 3.0 * y**2),
    ]
    return torch.stack(values[: degree * degree], dim=-1)
