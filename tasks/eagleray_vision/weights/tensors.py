"""Read a file of tensors without running anything that it may contain."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from eagleray.task import InputError

IGNORED_SUFFIX = "num_batches_tracked"
"""Counter of batches that some versions of the normalization layers store; never used."""

_PLAIN_NUMPY = [
    np.core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "i4", "i8", "f4", "f8")),
]
"""What NumPy numbers (scores, counters beside the weights) are rebuilt from; runs no code."""

_SAFETENSORS = ".safetensors"
_STATE = "state_dict"
_REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+)")
"""How torch names what a pickle asked for and may not have."""
_TORCH_GLOBALS = ("torch", "collections.OrderedDict", "numpy")
"""Beginnings of what every file of tensors asks for."""
_MOST_PICKLE_BYTES = 1 << 24
"""How much of a refused pickle is looked through for a name."""
_NUM_NAMED = 5
"""How many tensors an error message names."""


class WeightFileError(InputError):
    """A weight file is missing, not a file of tensors, or does not fit the network."""


def read_tensors(path: Path, *, more_types: Sequence[Callable[..., Any]] = ()) -> Mapping[str, Any]:
    """Read a file of tensors without running anything that it may contain.

    Args:
        path: A ``.safetensors`` file, or a file of ``torch.save``.
        more_types: Plain types that a pickle may hold beside tensors and numbers.

    Returns:
        What the file holds by name, tensors on the CPU; names are text, at the top and in its
        ``state_dict``.

    Raises:
        WeightFileError: If the file is missing or damaged, or holds more than plain data.
    """
    content = read_plain(path, more_types=more_types)
    if not isinstance(content, Mapping):
        raise WeightFileError(
            f"{path} holds a {type(content).__name__}, expected a dictionary of tensors by name"
        )
    _require_text(path, content, "")
    state = content.get(_STATE)
    for name, part in (state if isinstance(state, Mapping) else {}).items():
        if isinstance(part, Mapping) and any(isinstance(one, Tensor) for one in part.values()):
            _require_text(path, part, f" of {_STATE}.{name}")
    if isinstance(state, Mapping):
        _require_text(path, state, f" of {_STATE}")
    return content


def read_plain(path: Path, *, more_types: Sequence[Callable[..., Any]] = ()) -> Any:
    """Read whatever a file of tensors holds, without running anything that it may contain.

    Args:
        path: A ``.safetensors`` file, or a file of ``torch.save``.
        more_types: Plain types that a pickle may hold beside tensors and numbers.

    Returns:
        A tensor, a dictionary, a pair, ...; tensors on the CPU.

    Raises:
        WeightFileError: If the file is missing or damaged, or holds more than plain data.
    """
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise WeightFileError(
            f"weight file {path} {what}; give a file of torch.save or safetensors (of a backbone: "
            "check body.weights)"
        )
    try:
        return _unpickled_or_safe(path, more_types)
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise WeightFileError(_refusal(path, error)) from error


def require_plain(path: Path, tensors: Mapping[str, Any]) -> None:
    """Refuse values that no network of ours can be given.

    Args:
        path: The file, for the message.
        tensors: What is to be copied, by the file's names.

    Raises:
        WeightFileError: One is no tensor, has no values, is not dense, or is not finite.
    """
    wrong = [(name, problem) for name, one in tensors.items() if (problem := _problem(one))]
    if wrong:
        listed = "; ".join(f"{name}: {problem}" for name, problem in wrong[:_NUM_NAMED])
        raise WeightFileError(
            f"{path}: {len(wrong)} of {len(tensors)} tensors cannot be used ({listed}). Allowed "
            "are dense, real, finite tensors on a device; store the weights that way where the "
            "file comes from, or take a checkpoint from before the training diverged"
        )


def _problem(value: Any) -> str:
    """Say why a value is no weight; empty where it is one."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}, no tensor"
    if value.is_meta:
        return "a tensor without values (device meta)"
    if value.is_quantized:
        return f"quantized ({value.dtype})"
    if value.layout != torch.strided:
        return f"sparse ({value.layout})"
    if value.is_complex():
        return f"complex ({value.dtype})"
    stored = value.untyped_storage()
    if value.numel() * value.element_size() > stored.nbytes():  # a few values, repeated: those
        value = torch.empty(0, dtype=value.dtype).set_(stored)
    if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
        return "holds NaN or infinite values"
    return ""


def _unpickled_or_safe(path: Path, more_types: Sequence[Callable[..., Any]]) -> Any:
    if path.suffix.lower() == _SAFETENSORS:
        return safetensors.torch.load_file(path)
    if zipfile.is_zipfile(path):
        _require_stored(path)
    with torch.serialization.safe_globals([*_PLAIN_NUMPY, *more_types]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _require_stored(path: Path) -> None:
    """Refuse a file that unpacks to more than it is: ``torch.save`` never compresses."""
    with zipfile.ZipFile(path) as members:
        unpacked = sum(member.file_size for member in members.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"{path.stat().st_size} bytes would unpack to {unpacked}")


def _first_global(path: Path) -> str:
    """Return what a pickle asks for first that is no tensor, read without running it; or nothing.

    Torch's own message names it for the pickles that torch writes alone.
    """
    words: list[str] = []
    try:
        for code, value, _ in pickletools.genops(_pickle_bytes(path)):
            if code.name == "STACK_GLOBAL":
                words.append(".".join(words[-2:]))
            if code.name in ("GLOBAL", "INST", "STACK_GLOBAL"):
                name = str(value).replace(" ", ".") if value is not None else words[-1]
                if not name.startswith(_TORCH_GLOBALS):
                    return name
            if isinstance(value, str):
                words.append(value)
    except Exception:  # a damaged pickle tells what it tells
        return ""
    return ""


def _pickle_bytes(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_MOST_PICKLE_BYTES)
    with zipfile.ZipFile(path) as members:
        name = next(name for name in members.namelist() if name.endswith("data.pkl"))
        with members.open(name) as member:
            return member.read(_MOST_PICKLE_BYTES)


def _refusal(path: Path, error: Exception) -> str:
    named = _REFUSED_GLOBAL.search(str(error))
    asked_for = named[1] if named else _first_global(path)
    # Only the first sentence of torch's own message: the rest says how to switch the guard off.
    reason = (
        f"it asks for {asked_for}, which is no tensor or plain value"
        if asked_for
        else f"{type(error).__name__}: {str(error).partition('. ')[0][:200]}"
    )
    return (
        f"{path} cannot be read as a file of tensors ({reason}). Only tensors and plain values are "
        "accepted, since other pickles can run code: download the file again if it is damaged, "
        "else convert the file to safetensors where it comes from"
    )


def _require_text(path: Path, content: Mapping[Any, Any], place: str) -> None:
    wrong = [key for key in content if not isinstance(key, str)]
    if wrong:
        raise WeightFileError(
            f"{path}: {len(wrong)} keys{place} are no text (such as {wrong[0]!r:.80}, a "
            f"{type(wrong[0]).__name__}); expected are tensors by name, as state_dict() gives them"
        )


def state_tensors(
    path: Path, content: Mapping[str, object], key: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a training checkpoint by name, and the names of all else in it.

    Args:
        path: Its file, for messages.
        content: What was read: tensors by name, or such a dictionary under ``key``.
        key: Entry that holds the tensors where there is one. Of their names the prefix of data
            parallelism (``module.``) is left out.

    Raises:
        WeightFileError: The entry is no dictionary.
    """
    state = content.get(key, content)
    if not isinstance(state, Mapping):
        raise WeightFileError(
            f"{path}: {key} is a {type(state).__name__}, expected tensors by name"
        )
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    around = () if state is content else tuple(str(name) for name in content if name != key)
    plain = tuple(str(name) for name, value in state.items() if not isinstance(value, Tensor))
    return tensors, (*around, *plain)
