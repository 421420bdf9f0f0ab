"""What the operators that sample maps at learned positions ask of their arguments' types."""

import torch
from torch import Tensor

from eagleray_kernels.errors import KernelInputError

_HALF = (torch.float16, torch.bfloat16)
_FULL = (torch.float32, torch.float64)


def with_positions_type(value: Tensor, **tensors: Tensor) -> list[Tensor]:
    """Cast what positions are computed from to float32, or to float64 for a map of that type.

    Args:
        value: the map.
        **tensors: offsets, locations, weights by their names; half precision is cast up.

    Returns:
        The tensors, in their order.

    Raises:
        KernelInputError: if a type is no floating type, or one is float32 where another is float64.
    """
    if value.dtype not in (*_HALF, *_FULL):
        message = f"value must be float64, float32, float16 or bfloat16, found {value.dtype}"
        raise KernelInputError(message)
    wanted = torch.float64 if value.dtype == torch.float64 else torch.float32
    for name, tensor in tensors.items():
        if tensor.dtype not in (*_HALF, wanted):
            message = f"{name} is {tensor.dtype} but value is {value.dtype}: cast one"
            raise KernelInputError(message)
    return [tensor.to(wanted) for tensor in tensors.values()]
