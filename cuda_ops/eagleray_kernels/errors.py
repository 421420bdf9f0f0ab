"""What the operators raise and warn about."""

from collections.abc import Sequence

from torch import Tensor


class KernelInputError(ValueError):
    """An argument of an operator has a shape, a type or a value that it cannot have."""


class KernelBuildError(RuntimeError):
    """The compiled operators were asked for and cannot be built or loaded."""


class KernelFallbackWarning(UserWarning):
    """The operators run in plain PyTorch because they could not be compiled."""


def require_shape(name: str, tensor: Tensor, shape: Sequence[int | str]) -> None:
    """Check a tensor's shape.

    Args:
        name: the argument's name in the message.
        tensor: the tensor.
        shape: one entry per dimension, a size or the symbol of a free one.

    Raises:
        KernelInputError: if the number of dimensions or a fixed size differs.
    """
    fits = tensor.dim() == len(shape) and all(
        not isinstance(asked, int) or asked == found
        for asked, found in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        asked = ", ".join(str(size) for size in shape)
        message = f"{name} must have shape ({asked}), found {tuple(tensor.shape)}"
        raise KernelInputError(message)


def require_rows(num_rows: int, **tensors: Tensor) -> None:
    """Check that tensors have the same number of rows.

    Raises:
        KernelInputError: naming the first tensor with another number of rows.
    """
    for name, tensor in tensors.items():
        if tensor.shape[0] != num_rows:
            message = f"{name} must have {num_rows} rows, found {tensor.shape[0]}"
            raise KernelInputError(message)


def require_power_of_two(name: str, value: int, *, maximum: int) -> None:
    """Check a size that must be a power of two.

    Raises:
        KernelInputError: if it is not, or above the maximum.
    """
    if value < 2 or value > maximum or value & (value - 1):
        message = f"{name} must be a power of two from 2 to {maximum}, found {value}"
        raise KernelInputError(message)
