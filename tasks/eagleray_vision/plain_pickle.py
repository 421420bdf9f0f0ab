"""Read a pickle of plain data: containers, numbers, text and NumPy arrays, and nothing else.

An ordinary pickle can run any code. This reader never imports what a pickle names: the few names
that arrays are written with stand for functions of this module, and every other is refused.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eagleray.task import InputError, is_transient

_PLAIN_KINDS = "biufUSO"
"""Kinds of array entries: truth values, numbers, texts, and containers of these."""


class _ForbiddenGlobalError(Exception):
    """A pickle asks for something that is no plain data."""


class _Stand:
    """Stands for a function that a pickle names; made anew for each, since a pickle may set the
    attributes of what it is given.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def _array_type(*_: Any) -> Any:
    """Stand for ``numpy.ndarray``, which a pickle may name but not call."""
    raise _ForbiddenGlobalError("numpy.ndarray as a function")


def _dtype(text: str, *_: Any) -> np.dtype[Any]:
    kind: np.dtype[Any] = np.dtype(str(text), copy=True)  # type: ignore[call-overload]
    if kind.kind not in _PLAIN_KINDS:
        raise _ForbiddenGlobalError(f"arrays of {text}")
    return kind


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray[Any, Any]:
    """Begin an array; the pickle then states its shape, type and content."""
    return np.ndarray.__new__(np.ndarray, (0,), dtype=np.int8)


def _array_of_buffer(content: Any, kind: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    if not isinstance(kind, np.dtype) or kind.kind == "O":
        raise _ForbiddenGlobalError("a buffer of objects")
    return np.frombuffer(content, dtype=kind).reshape(shape, order=order)


def _number(kind: np.dtype[Any], content: Any = b"") -> Any:
    if not isinstance(kind, np.dtype) or kind.kind == "O":
        raise _ForbiddenGlobalError("a NumPy number of objects")
    return np.frombuffer(content, dtype=kind)[0]


def _bytes_of_text(text: str, coding: str = "latin1") -> bytes:
    """How protocol 2 and older write bytes."""
    if coding != "latin1":
        raise _ForbiddenGlobalError(f"_codecs.encode to {coding}")
    return text.encode("latin1")


_NAMES: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _array_type,
    "numpy.dtype": _dtype,
    "_codecs.encode": _bytes_of_text,
    "collections.OrderedDict": OrderedDict,
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.core.multiarray.scalar": _number,
    "numpy.core.numeric._frombuffer": _array_of_buffer,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray.scalar": _number,
    "numpy._core.numeric._frombuffer": _array_of_buffer,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "__builtin__.set": set,
    "__builtin__.frozenset": frozenset,
}
"""All that a pickle may name."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name of plain data."""
        if (full := f"{module}.{name}") not in _NAMES:
            raise _ForbiddenGlobalError(full)
        return _Stand(_NAMES[full])


def read_plain_pickle(path: Path, refusal: type[InputError]) -> Any:
    """Read a pickle without running anything that it names.

    Args:
        path: The file.
        refusal: What to raise.

    Returns:
        Its value: dictionaries, lists, tuples, sets, texts, numbers and NumPy arrays.

    Raises:
        InputError: A ``refusal``: the file is missing or damaged, or asks for anything else, which
            the message names.
    """
    if path.exists() and not path.is_file():
        raise refusal(f"{path}: is no regular file (a folder, pipe or device); give a pickle")
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except _ForbiddenGlobalError as error:
        raise refusal(
            f"{path}: asks for {error}, which is no plain data; only containers, numbers, texts "
            "and NumPy arrays are read, since other pickles can run code"
        ) from None
    except Exception as error:  # whatever a damaged or hostile file provokes
        if is_transient(error):
            raise
        raise refusal(
            f"{path}: cannot be read as a pickle ({type(error).__name__}: {str(error)[:200]}); "
            "make or download it again"
        ) from error
