"""Looking into what a task gives: whether two values are the same, and where their tensors lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DEPTH = 8


def difference(first: Any, second: Any, path: str = "") -> str | None:
    """Return where two values differ (``.image``, ``[0]['boxes']``), None where they are the same.

    Objects that say nothing about their equality count as the same.
    """
    here = path or "the value"
    if type(first) is not type(second):
        return f"{here} ({type(first).__name__}, then {type(second).__name__})"
    if isinstance(first, Tensor):
        return None if _same_tensors(first, second) else here
    if isinstance(first, np.ndarray):
        same = first.dtype == second.dtype and np.array_equal(
            first, second, equal_nan=first.dtype.kind in "fc"
        )
        return None if same else here
    if isinstance(first, float) and math.isnan(first):
        return None if math.isnan(second) else here
    parts, others = list(_parts(first)), list(_parts(second))
    if parts or others:
        if [name for name, _ in parts] != [name for name, _ in others]:
            return f"{here} (other parts or another length)"
        found = (
            difference(a, b, path + name) for (name, a), (_, b) in zip(parts, others, strict=True)
        )
        return next((one for one in found if one is not None), None)
    if getattr(type(first), "__eq__", None) is object.__eq__:
        return None
    return None if bool(first == second) else here


def _same_tensors(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return bool(((first == second) | ((first != first) & (second != second))).all())


def tensors_in(value: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of a value with their places, also in objects that are not batches."""
    if isinstance(value, Tensor):
        yield path or "the value", value
    elif depth > 0:
        parts = list(_parts(value)) or [
            (f".{name}", part) for name, part in getattr(value, "__dict__", {}).items()
        ]
        for name, part in parts:
            yield from tensors_in(part, path + name, depth - 1)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield f"[{index}]", part


def stray_tensors(value: Any, device: torch.device) -> list[str]:
    """Return the places of tensors that do not lie on a device."""
    return [path for path, tensor in tensors_in(value) if tensor.device.type != device.type]


def some(names: list[str]) -> str:
    """Return a few names, and how many there are besides."""
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
