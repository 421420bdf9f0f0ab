"""Training checkpoints of other programs: tensors and plain values, without their objects.

Beside weights such files hold pickled objects of the program that wrote them (the loss histories of
mmengine), which a reader of plain values refuses. Here each of them becomes an empty stand-in:
nothing is imported or called, and what is asked for besides tensors and plain values is not read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eagleray_vision.weights.tensors import WeightFileError, read_tensors
from eagleray_vision.weights.torchscript import ArchiveReader, archive_root, is_torchscript


class Unread:
    """Stands for an object of a class that is not read; takes whatever its pickle gives it."""

    def __init__(self, *ignored: Any, **named: Any) -> None: ...

    def __new__(cls, *ignored: Any, **named: Any) -> Unread:
        """Make a stand-in from whatever the object's class would take."""
        return super().__new__(cls)

    def __call__(self, *ignored: Any, **named: Any) -> Unread:
        """Stand for what the object would give."""
        return self

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None:
        """Take an element of a list, and forget it."""

    def extend(self, values: Any) -> None:
        """Take elements of a list, and forget them."""


class _CheckpointReader(ArchiveReader):
    """Reads ``data.pkl`` of a checkpoint; unknown classes and functions become stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what rebuilds tensors, or a stand-in."""
        try:
            return super().find_class(module, name)
        except ValueError:
            return Unread


def read_foreign_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint without running anything that it may contain.

    Args:
        path: A ``.safetensors`` file, or a file of ``torch.save``.

    Returns:
        What the file holds by name, tensors on the CPU; objects are `Unread`.

    Raises:
        WeightFileError: It is missing, damaged or no dictionary of tensors.
    """
    if not path.is_file() or not zipfile.is_zipfile(path) or is_torchscript(path):
        return read_tensors(path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = _CheckpointReader(archive, archive_root(archive)).load()
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise WeightFileError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {str(error)[:200]}). "
            "Its objects are never made and only tensors are read: download the file again, or "
            "store the weights as safetensors where it comes from"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise WeightFileError(
            f"{path} holds a {type(content).__name__}, expected a dictionary of tensors by name"
        )
    return content
