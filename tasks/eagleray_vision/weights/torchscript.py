"""Tensors of a TorchScript archive, read without running its code.

``torch.jit.load`` compiles the code that an archive holds. Weights need none of it: ``data.pkl``
names every module and tensor, and ``data/<n>`` are plain bytes. The pickle is read by an unpickler
that knows four kinds of objects (tensors, their storages, lists, modules as bare attribute
holders) and refuses all others.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from eagleray_vision.weights.tensors import WeightFileError

_PICKLE, _CONSTANTS = "data.pkl", "constants.pkl"
_MAX_PICKLE_BYTES = 1 << 26
"""Largest ``data.pkl`` that is read; that of OpenAI's largest CLIP takes a thousandth."""
_MAX_DEPTH = 64
"""Deepest nesting of modules that is followed."""
_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive: unlike ``torch.save``'s, it has constants."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            members = {PurePosixPath(name).name for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, OSError):
        return False
    return {_PICKLE, _CONSTANTS} <= members


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a TorchScript archive; its code is never looked at.

    Args:
        path: A file of ``torch.jit.save``.

    Returns:
        Parameters, buffers and tensor attributes by dotted name, on the CPU, as they are stored.

    Raises:
        WeightFileError: The archive is damaged, compressed, or asks for anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = ArchiveReader(archive, archive_root(archive)).load()
        return dict(_named_tensors(root, "", 0))
    except WeightFileError:
        raise
    except Exception as error:  # whatever a damaged or hostile archive provokes
        raise WeightFileError(
            f"{path} cannot be read as a TorchScript archive ({type(error).__name__}: "
            f"{str(error)[:200]}). Its code is never run and only tensors are read: download the "
            "file again, or store the weights as safetensors where it comes from"
        ) from error


class _Module:
    """A module of the archive: its attributes and nothing else."""

    attributes: Mapping[str, Any]

    def __init__(self, *ignored: Any) -> None:
        self.attributes = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, Mapping):
            raise ValueError(f"a module's state is a {type(state).__name__}")
        self.attributes = state


class _StorageType:
    """Stands for a storage class such as ``torch.HalfStorage``; cannot be called."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class ArchiveReader(pickle.Unpickler):
    """Reads ``data.pkl`` of an open archive.

    Args:
        archive: The archive.
        root: Folder of its members.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        member = archive.getinfo(root + _PICKLE)
        if member.file_size > _MAX_PICKLE_BYTES:
            raise ValueError(f"{_PICKLE} has {member.file_size} bytes")
        super().__init__(io.BytesIO(_stored(archive, member)))
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return a harmless stand-in of what the pickle asks for, or refuse."""
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        known = _KNOWN.get((module, name))
        if known is None:
            raise ValueError(f"it asks for {module}.{name}, which is no tensor")
        return known

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the values of a storage, flat."""
        kind, storage_type, key, _device, count = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise ValueError(f"it asks for a stored {kind!r}")
        if key not in self._storages:
            member = self._archive.getinfo(f"{self._root}data/{key}")
            content = bytearray(_stored(self._archive, member))
            dtype = storage_type.dtype
            if len(content) != count * dtype.itemsize:
                raise ValueError(f"storage {key} has {len(content)} bytes, not {count} x {dtype}")
            empty = torch.empty(0, dtype=dtype)
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if count else empty
        return self._storages[key]


def _stored(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Read a member that is no larger than its part of the file: torch compresses code alone."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} would unpack to {member.file_size} bytes")
    return archive.read(member)


def _rebuilt(
    values: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
) -> Any:
    """Return a tensor over a part of a storage; what lies outside of it is refused."""
    if len(size) != len(stride) or offset < 0 or any(n < 0 for n in (*size, *stride)):
        raise ValueError(f"a tensor of size {tuple(size)}, stride {tuple(stride)}, at {offset}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = torch.Size(size).numel()
    if count and (last >= values.numel() or count > values.numel()):
        raise ValueError(f"a tensor of size {tuple(size)} reaches beyond its storage")
    return values.as_strided(tuple(size), tuple(stride), offset)


def _rebuilt_parameter(values: Tensor, *_: Any) -> Tensor:
    return values


def _as_list(values: Sequence[Any]) -> list[Any]:
    return list(values)


def _untagged(value: Any, _type: str) -> Any:
    return value


_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): _rebuilt_parameter,
    ("torch.jit._pickle", "build_intlist"): _as_list,
    ("torch.jit._pickle", "build_doublelist"): _as_list,
    ("torch.jit._pickle", "build_boollist"): _as_list,
    ("torch.jit._pickle", "build_tensorlist"): _as_list,
    ("torch.jit._pickle", "restore_type_tag"): _untagged,
}
"""What a pickle of TorchScript may ask for; none of it runs anything."""


def archive_root(archive: zipfile.ZipFile) -> str:
    """Return the folder of the archive's members, with its slash."""
    tops = {name.partition("/")[0] for name in archive.namelist() if name.endswith("/" + _PICKLE)}
    roots = [f"{top}/" for top in tops if f"{top}/{_PICKLE}" in archive.namelist()]
    if len(roots) != 1:
        raise ValueError(f"{len(roots)} members are called {_PICKLE}, expected is one")
    return roots[0]


def _named_tensors(module: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"modules are nested deeper than {_MAX_DEPTH}")
    if not isinstance(module, _Module):
        raise ValueError(f"it holds a {type(module).__name__}, expected is a module")
    for name, value in module.attributes.items():
        if isinstance(value, _Module):
            yield from _named_tensors(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, Tensor):
            yield f"{prefix}{name}", value
