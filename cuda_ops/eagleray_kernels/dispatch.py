"""Which implementation of an operator runs: compiled or its twin in plain PyTorch.

Every operator has two implementations with the same signature: `torch.ops.eagleray.<name>`,
compiled for CPU or CUDA, and `eagleray_kernels.twin.<module>.<name>`. The environment variable
`EAGLERAY_KERNELS` chooses: `auto` (the default) compiles at the first use and falls back to the
twins with one warning, `compiled` fails where it cannot compile, `twin` never compiles.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import torch

from eagleray_kernels import build
from eagleray_kernels.errors import KernelBuildError, KernelFallbackWarning, KernelInputError

Implementation = Literal["auto", "compiled", "twin"]

_make_library: Any = torch.library.Library  # untyped in PyTorch
LIBRARY: torch.library.Library = _make_library("eagleray", "DEF")
"""Holds the operators' schemas; the compiled libraries register their kernels under it."""

define_operator: Callable[[str], str] = LIBRARY.define
"""Declares an operator by its schema."""

_ENVIRONMENT_VARIABLE = "EAGLERAY_KERNELS"
_forced: list[Implementation] = []
_is_loaded: dict[str, bool] = {}


@contextlib.contextmanager
def implementation(choice: Implementation) -> Iterator[None]:
    """Choose the implementation for a block of code, over the environment variable.

    Args:
        choice: `auto`, `compiled` or `twin`.

    Example:
        >>> with implementation("twin"):
        ...     codes = encode_morton(coords)
    """
    _forced.append(_checked(choice))
    try:
        yield
    finally:
        _forced.pop()


@torch.compiler.assume_constant_result
def uses_compiled(device_type: str) -> bool:
    """Tell whether operators on tensors of this device type run compiled; build them if need be.

    Args:
        device_type: `cpu`, `cuda`, ...

    Returns:
        True for the compiled kernels, False for the twins.

    Raises:
        KernelBuildError: if `compiled` is chosen and the kernels cannot be built.
    """
    choice = _forced[-1] if _forced else _from_environment()
    if choice == "twin":
        return False
    if device_type not in _is_loaded or (choice == "compiled" and not _is_loaded[device_type]):
        _is_loaded[device_type] = _load(device_type, must_succeed=choice == "compiled")
    return _is_loaded[device_type]


def _checked(choice: str) -> Implementation:
    allowed = get_args(Implementation)
    if choice not in allowed:
        message = f"kernel implementation {choice!r}: allowed are {', '.join(allowed)}"
        raise KernelInputError(message)
    return allowed[allowed.index(choice)]


def _from_environment() -> Implementation:
    return _checked(os.environ.get(_ENVIRONMENT_VARIABLE, "auto"))


def _load(device_type: str, *, must_succeed: bool) -> bool:
    if device_type not in get_args(build.Device):
        return False
    try:
        build.load("cuda" if device_type == "cuda" else "cpu")
    except KernelBuildError as error:
        if must_succeed:
            raise
        message = (
            f"eagleray_kernels runs in plain PyTorch on {device_type}, which is slower: {error} "
            f"(set {_ENVIRONMENT_VARIABLE}=twin to choose this without a warning)"
        )
        warnings.warn(message, KernelFallbackWarning, stacklevel=2)
        return False
    return True
