"""Tensors of a model that are a weights file's: put into it, told from changed ones, and left out
of checkpoints.

A tensor is left out where the task names its file (``ModelTask.frozen_files``), the phase does not
train it, and it is still equal to the file's, bit for bit: whatever a phase before, another run's
weights or a hook has changed is stored like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from eagleray.prepare.fingerprint import file_checksum
from eagleray.task import FrozenFile, ModelTask, SettingsError
from eagleray.train.model_file import FrozenReference, ModelHeader


@dataclass(frozen=True)
class FrozenTensors:
    """Which tensors of a model came from files.

    Args:
        references: The files, each with all of its tensors.
        digests: SHA-256 of each tensor, as the model has it.
    """

    references: tuple[FrozenReference, ...] = ()
    digests: Mapping[str, bytes] = field(default_factory=dict)

    def is_unchanged(self, name: str, value: Tensor) -> bool:
        """Return whether a tensor of the model is the file's still; ``value`` is on the CPU."""
        return name in self.digests and self.digests[name] == _digest(value)

    def left_out(self, names: set[str]) -> tuple[FrozenReference, ...]:
        """Return references to those tensors alone that a checkpoint leaves out."""
        kept = (
            FrozenReference(r.name, r.file, r.sha256, tuple(n for n in r.tensors if n in names))
            for r in self.references
        )
        return tuple(reference for reference in kept if reference.tensors)


def put_frozen(
    task: ModelTask, model: nn.Module, referred: Sequence[FrozenReference] | None, source: str = ""
) -> FrozenTensors:
    """Put the tensors of the task's frozen files into a model that is about to be trained.

    Args:
        task: Names the files and reads them.
        model: Changed in place.
        referred: What the checkpoint leaves out that comes next; None where there is none, so that
            every file must be there. A checkpoint that holds a file's tensors does without it.
        source: The checkpoint, for messages.

    Raises:
        SettingsError: A file that is needed is missing, has another checksum, or does not fit.
    """
    if referred:
        check_references(task, referred, source)
    needed = {reference.name for reference in referred or ()}
    references: list[FrozenReference] = []
    digests: dict[str, bytes] = {}
    for file in task.frozen_files():
        if referred is not None and file.name not in needed and not file.path.is_file():
            continue
        tensors = _read(task, model, file)
        own = model.state_dict()
        with torch.no_grad():
            for name, value in tensors.items():
                own[name].copy_(value)
        digests |= {name: _digest(own[name]) for name in tensors}
        references.append(
            FrozenReference(file.name, file.path.name, file_checksum(file.path), tuple(tensors))
        )
    return FrozenTensors(tuple(references), digests)


def referred_tensors(
    task: ModelTask, model: nn.Module, referred: Sequence[FrozenReference], source: str
) -> dict[str, Tensor]:
    """Return the tensors that a checkpoint leaves out, from their files.

    Raises:
        SettingsError: A file is missing, has another checksum, or does not hold them.
    """
    tensors: dict[str, Tensor] = {}
    files = check_references(task, referred, source)
    for reference, file in zip(referred, files, strict=True):
        given = _read(task, model, file)
        lacking = [name for name in reference.tensors if name not in given]
        if lacking:
            raise SettingsError(
                f"{source} leaves out {len(reference.tensors)} tensors of {reference.file}, but "
                f"task {task.name!r} reads no {', '.join(lacking[:3])} from {file.path}: give the "
                "experiment that it was trained with"
            )
        tensors |= {name: given[name] for name in reference.tensors}
    return tensors


def check_references(
    task: ModelTask, referred: Sequence[FrozenReference], source: str
) -> list[FrozenFile]:
    """Return the files that a checkpoint refers to.

    Raises:
        SettingsError: One is missing, has another checksum, or the task names none.
    """
    return [_file_of(task, reference, source) for reference in referred]


def check_weights(task: ModelTask, path: Path) -> None:
    """Refuse weights whose frozen files are not there, before anything starts.

    Raises:
        SettingsError: One is missing, has another checksum, or the task names none.
    """
    check_references(task, ModelHeader.read(path).frozen, str(path))


def checksums(task: ModelTask) -> dict[str, str]:
    """Return the checksum of each of the task's frozen files that is there, by name."""
    return {f.name: file_checksum(f.path) for f in task.frozen_files() if f.path.is_file()}


def _file_of(task: ModelTask, reference: FrozenReference, source: str) -> FrozenFile:
    files = {file.name: file for file in task.frozen_files()}
    said = (
        f"{source} leaves out {len(reference.tensors)} tensors, which are those of "
        f"{reference.file} ({reference.name}, SHA-256 {reference.sha256})"
    )
    whole = "or give a file that `eagleray export` made, which holds all tensors"
    if reference.name not in files:
        raise SettingsError(
            f"{said}, but task {task.name!r} with these settings names no such file (it names "
            f"{', '.join(files) or 'none'}): give the experiment that it was trained with, {whole}"
        )
    file = files[reference.name]
    if not file.path.is_file():
        raise SettingsError(
            f"{said}, but there is no file {str(file.path)!r}, which the settings name: "
            f"{file.hint}; {whole}"
        )
    checksum = file_checksum(file.path)
    if checksum != reference.sha256:
        raise SettingsError(
            f"{said}, but {file.path}, which the settings name, has SHA-256 {checksum}: name the "
            f"file that it was trained with, {whole}"
        )
    return file


def _read(task: ModelTask, model: nn.Module, file: FrozenFile) -> Mapping[str, Tensor]:
    if not file.path.is_file():
        raise SettingsError(
            f"task {task.name!r} needs the weights {file.name!r} at {str(file.path)!r}, where "
            f"there is no file: {file.hint}"
        )
    tensors = task.read_frozen(model, file)
    own = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    wrong = [
        f"{name} {tuple(value.shape)} for {tuple(own[name].shape) if name in own else 'none'}"
        for name, value in tensors.items()
        if name not in own or own[name].shape != value.shape
    ]
    if wrong:
        raise SettingsError(
            f"{file.path} ({file.name}) does not fit the model of these settings: {len(wrong)} of "
            f"{len(tensors)} tensors are others ({', '.join(wrong[:3])}); name the file that the "
            "settings describe"
        )
    return tensors


def _digest(value: Tensor) -> bytes:
    flat = value.detach().to("cpu").contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()
