"""Encoding of view directions by real spherical harmonics."""

from typing import Any

import torch
from torch import Tensor

from eagleray_kernels import twin
from eagleray_kernels.dispatch import LIBRARY, define_operator, uses_compiled
from eagleray_kernels.errors import KernelInputError, require_shape

define_operator("spherical_harmonics(Tensor directions, int degree) -> Tensor")
define_operator(
    "spherical_harmonics_backward(Tensor grad, Tensor directions, int degree) -> Tensor"
)

MAX_DEGREE = 4


def spherical_harmonics(directions: Tensor, degree: int = MAX_DEGREE) -> Tensor:
    """Evaluate the real spherical harmonics of the first `degree` bands.

    Args:
        directions: (N, 3) float32 or float64 unit vectors; they are not normalised here.
        degree: number of bands, 1 to 4.

    Returns:
        (N, degree^2) values, in the order and with the signs of the specification of the radiance
        field (Condon-Shortley).

    Raises:
        KernelInputError: if the shape or the degree is another.
    """
    require_shape("directions", directions, ("N", 3))
    if not 1 <= degree <= MAX_DEGREE:
        message = f"degree must be from 1 to {MAX_DEGREE}, found {degree}"
        raise KernelInputError(message)
    if uses_compiled(directions.device.type):
        return torch.ops.eagleray.spherical_harmonics(directions, degree)
    return twin.spherical_harmonics(directions, degree)


@torch.library.register_fake("eagleray::spherical_harmonics", lib=LIBRARY)
def _harmonics_fake(directions: Tensor, degree: int) -> Tensor:
    return directions.new_empty(directions.shape[0], degree * degree)


@torch.library.register_fake("eagleray::spherical_harmonics_backward", lib=LIBRARY)
def _harmonics_backward_fake(grad: Tensor, directions: Tensor, degree: int) -> Tensor:
    return directions.new_empty(directions.shape[0], 3)


def _save(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.degree = inputs[1]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (directions,) = ctx.saved_tensors
    return torch.ops.eagleray.spherical_harmonics_backward(grad, directions, ctx.degree), None


torch.library.register_autograd(
    "eagleray::spherical_harmonics", _backward, setup_context=_save, lib=LIBRARY
)
