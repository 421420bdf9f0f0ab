"""Read a file of tensors without running anything that it may contain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from eagleray.task import InputError

IGNORED_SUFFIX = "num_batches_tracked"
"""Counter of batches that some versions of the normalization layers store; never used."""

_PLAIN_NUMPY = [
    np.core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "i4", "i8", "f4", "f8")),
]
"""What NumPy numbers (scores, counters beside the weights) are rebuilt from; runs no code."""


class WeightFileError(InputError):
    """A weight file is missing, not a file of tensors, or does not fit the network."""


def read_tensors(path: Path) -> Mapping[str, Any]:
    """Read a file of tensors without running anything that it may contain.

    Args:
        path: A ``.safetensors`` file, or a file of ``torch.save``.

    Returns:
        What the file holds, tensors on the CPU.

    Raises:
        WeightFileError: If the file is missing or damaged, or holds more than plain data.
    """
    if not path.is_file():
        raise WeightFileError(f"weight file {path} does not exist; check body.weights")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals(_PLAIN_NUMPY):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise WeightFileError(
            f"{path} cannot be read as a file of tensors ({type(error).__name__}: {error}). Only "
            "tensors and plain values are accepted, since other pickles can run code: convert the "
            "file to safetensors where it comes from"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightFileError(
            f"{path} holds a {type(content).__name__}, expected a dictionary of tensors by name"
        )
    return content
