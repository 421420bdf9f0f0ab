"""What a ``model.safetensors`` says beside its tensors, in the header of the file itself, so that
it is known wherever the file goes.

The header's metadata have one entry, ``eagleray``, a JSON object:

    frozen    of a checkpoint: tensors that are left out because a file of weights has them
    export    of what ``eagleray export`` wrote: the task, its settings and the run it came from

Files without the entry (all that were written before there was one) hold every tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

_ENTRY = "eagleray"
_LENGTH_BYTES = 8
"""A safetensors file begins with its header's length, an unsigned little-endian integer."""
_MOST_HEADER_BYTES = 100_000_000
"""Larger headers are no safetensors (the format's own limit)."""


@dataclass(frozen=True)
class FrozenReference:
    """Tensors that a checkpoint leaves out because a file of weights has them.

    Args:
        name: What the task calls the file.
        file: The file's own name when the checkpoint was written, for messages.
        sha256: Its checksum.
        tensors: Their names in the model's state.
    """

    name: str
    file: str
    sha256: str
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class ExportOrigin:
    """Where an exported file came from.

    Args:
        task: Name of the task.
        settings: The task's settings.
        run: Name of the run.
        checkpoint: Which of its checkpoints.
    """

    task: str
    settings: Mapping[str, Any]
    run: str
    checkpoint: str


@dataclass(frozen=True)
class ModelHeader:
    """What a ``model.safetensors`` says beside its tensors.

    Args:
        frozen: What it leaves out.
        export: Where it came from, if it was exported.
    """

    frozen: tuple[FrozenReference, ...] = ()
    export: ExportOrigin | None = None

    def encode(self) -> dict[str, str] | None:
        """Return the metadata of a safetensors file; None where there is nothing to say."""
        values: dict[str, Any] = {}
        if self.frozen:
            values["frozen"] = [asdict(reference) for reference in self.frozen]
        if self.export is not None:
            values["export"] = asdict(self.export)
        return {_ENTRY: json.dumps(values, sort_keys=True)} if values else None

    @classmethod
    def of(cls, content: bytes) -> ModelHeader:
        """Return the header at the beginning of a file; an empty one where it says nothing."""
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        try:
            header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
            values = json.loads(header["__metadata__"][_ENTRY])
            frozen = tuple(
                FrozenReference(**{**one, "tensors": tuple(one["tensors"])})
                for one in values.get("frozen", ())
            )
            export = ExportOrigin(**values["export"]) if "export" in values else None
            return cls(frozen, export)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    @classmethod
    def read(cls, path: Path) -> ModelHeader:
        """Return the header of a file; an empty one where there is none."""
        try:
            with path.open("rb") as file:
                start = file.read(_LENGTH_BYTES)
                length = int.from_bytes(start, "little")
                return cls.of(start + file.read(min(length, _MOST_HEADER_BYTES)))
        except OSError:
            return cls()


def encode_model(
    tensors: Mapping[str, Tensor],
    frozen: Sequence[FrozenReference] = (),
    export: ExportOrigin | None = None,
) -> bytes:
    """Return the content of a ``model.safetensors``.

    Args:
        tensors: Weights and buffers by name, contiguous, on the CPU; none shares memory.
        frozen: What is left out.
        export: Where it comes from, if it is exported.
    """
    return save(dict(tensors), ModelHeader(tuple(frozen), export).encode())
