"""Checkpoints that know neither world size nor ZeRO stage.

In ``checkpoints/`` of a run, for the checkpoint ``<phase>-<step>``:

    <name>/model.safetensors      what is evaluated: float32 weights and buffers by name; the moving
                                  average of the weights where the phase has one; without tensors
                                  of frozen files, which its header names (``train.model_file``)
    <name>/optimizer.safetensors  moments by parameter name; with an average also the weights that
                                  training goes on with
    <name>/state.json             position and counters
    <name>.json                   marker, created last: checksums of the three, and their folder
                                  where it is not <name>
    best.json                     name of the best checkpoint and its score

A folder without a valid marker does not exist for a reader. Only safetensors and JSON are read.

The first start of a run's training writes into ``<name>/``, the n-th one into ``<name>.<n>/``: a
driver that was cut off and comes back writes where no other one does, and cannot change what
another's marker promises.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from eagleray.runs.records import BestCheckpoint
from eagleray.runs.strange_files import warn_once
from eagleray.storage import DamagedError, Store, commit, have_sizes, read_checked, retract, sha256
from eagleray.task import EaglerayError
from eagleray.train.frozen import FrozenTensors
from eagleray.train.model_file import FrozenReference, ModelHeader, encode_model
from eagleray.train.strategies import Strategy
from eagleray.train.strategies.base import Moments, MovingAverage, cpu_copy, evaluated_state

_log = logging.getLogger(__name__)

FOLDER = "checkpoints"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_BEST = f"{FOLDER}/best.json"
_RAW = "weight"
_WRITTEN = re.compile(r"([a-z0-9_]+-\d{8})(?:\.\d+)?")
"""Names of folders that training writes: of a checkpoint, and which start of the training wrote."""
_MARKER = re.compile(rf"{FOLDER}/[a-z0-9_]+-\d{{8}}\.json")
_NAN_SHOWN = 3


@dataclass
class TrainState:
    """Where training stands. ``step`` counts optimizer steps of the phase, ``total_step`` of all
    phases.
    """

    phase_idx: int
    phase: str
    step: int
    total_step: int
    seed: int
    phase_done: bool = False
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    loss_scale: float = 1.0
    loss_scale_good_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder."""
        return f"{self.phase}-{self.step:08d}"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint in memory.

    Args:
        state: Position and counters.
        model: Weights to evaluate and buffers, by name.
        moments: Optimizer state by parameter name.
        raw: Weights that training goes on with, where ``model`` holds their moving average; else
            empty.
        frozen: Tensors that are left out because a file of weights has them.
    """

    state: TrainState
    model: dict[str, Tensor]
    moments: Moments
    raw: dict[str, Tensor]
    frozen: tuple[FrozenReference, ...] = ()


@dataclass(frozen=True)
class CheckpointFile:
    """What a marker promises of one file: its size in bytes and its SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Marker:
    """A checkpoint's name and position, and what its files must be.

    Args:
        name: Name of its folder.
        phase_idx: Number of its phase.
        step: Optimizer steps done in the phase.
        total_step: Optimizer steps done in all phases.
        phase_done: Whether the phase ends with it.
        files: Its files by name.
        folder: Where they are; empty for the folder of its name.
    """

    name: str
    phase_idx: int
    step: int
    total_step: int
    phase_done: bool
    files: Mapping[str, CheckpointFile]
    folder: str = ""

    @property
    def path(self) -> str:
        """Where the marker is stored."""
        return f"{FOLDER}/{self.name}.json"

    @property
    def sizes(self) -> dict[str, int]:
        """Size in bytes of each file by its path."""
        return {self.file_path(f): v.bytes for f, v in self.files.items()}

    @property
    def content(self) -> str:
        """Path of the folder that holds its files."""
        return f"{FOLDER}/{self.folder or self.name}"

    def file_path(self, file: str) -> str:
        """Return where one of its files is."""
        return f"{self.content}/{file}"

    def encode(self) -> bytes:
        """Return what is stored: everything but the name, which is the file's."""
        values = asdict(self)
        del values["name"]
        if not self.folder:
            del values["folder"]
        return _json(values)

    @classmethod
    def read(cls, run: Store, path: str) -> Marker | None:
        """Return the marker in a file; None if the file is gone, or is no marker."""
        try:
            values = json.loads(run.read(path))
            files = {name: CheckpointFile(**file) for name, file in values.pop("files").items()}
            name = path.removeprefix(f"{FOLDER}/").removesuffix(".json")
            return cls(name=name, files=files, **values)
        except (FileNotFoundError, ValueError, AttributeError, KeyError, TypeError):
            return None


def take_snapshot(
    strategy: Strategy,
    average: MovingAverage | None,
    state: TrainState,
    frozen: FrozenTensors = FrozenTensors(),  # noqa: B008 - frozen
) -> Checkpoint | None:
    """Return a checkpoint in CPU memory on rank 0, None on the others (collective)."""
    strategy.sync_buffers()
    keep = strategy.rank == 0
    trained, left_out = set(strategy.optimizer.names), set[str]()
    model: dict[str, Tensor] = {}
    for name, value in evaluated_state(strategy, average):  # one at a time, gathered from all
        if keep:
            copy = cpu_copy(value)
            if name not in trained and frozen.is_unchanged(name, copy):
                left_out.add(name)
            else:
                model[name] = copy
    raw: dict[str, Tensor] = {}
    if average is not None:
        whole = strategy.whole_parameters()
        raw = {n: cpu_copy(v) for n, v in whole if keep and n not in left_out}
    moments = strategy.moments()
    return Checkpoint(state, model, moments, raw, frozen.left_out(left_out)) if keep else None


def write_checkpoint(run: Store, checkpoint: Checkpoint, attempt: int = 1) -> str:
    """Write a checkpoint, its marker last; return its name. One that is there and valid is left
    alone, also one that another driver finishes meanwhile.

    A marker whose files are torn is replaced in one piece, once the new files are whole: at no
    moment is there none, and of two drivers at the same step either one's marker is good.

    Args:
        run: The run's folder.
        checkpoint: What is written.
        attempt: Which start of the run's training writes, from 1.
    """
    state = checkpoint.state
    if state.name in [m.name for m in list_checkpoints(run)]:
        return state.name
    flat = {f"{p}/{k}": v for p, moment in checkpoint.moments.items() for k, v in moment.items()}
    flat |= {f"{p}/{_RAW}": v for p, v in checkpoint.raw.items()}
    contents = {
        MODEL: encode_model(checkpoint.model, checkpoint.frozen),
        OPTIMIZER: save_tensors(flat),
        STATE: _json(asdict(state)),
    }
    marker = Marker(
        name=state.name,
        phase_idx=state.phase_idx,
        step=state.step,
        total_step=state.total_step,
        phase_done=state.phase_done,
        files={f: CheckpointFile(len(c), sha256(c)) for f, c in contents.items()},
        folder="" if attempt == 1 else f"{state.name}.{attempt}",
    )
    there = Marker.read(run, marker.path)
    is_torn = there is None or not have_sizes(run, there.sizes)
    files = {marker.file_path(f): content for f, content in contents.items()}
    is_ours = commit(run, files, marker.path, marker.encode())
    if not is_ours and is_torn and Marker.read(run, marker.path) in (None, there):
        run.write(marker.path, marker.encode())
    return state.name


def forget_partial(run: Store) -> None:
    """Delete what writers left behind that were killed before their marker; called while nobody
    else trains the run.
    """
    run.child(FOLDER).remove_stale_temporaries()
    paths = _marker_paths(run)
    known = {path.removeprefix(f"{FOLDER}/").removesuffix(".json") for path in paths}
    markers = [marker for path in paths if (marker := Marker.read(run, path)) is not None]
    used = {marker.content for marker in markers}
    damaged = known - {marker.name for marker in markers}
    for folder in run.folders(FOLDER):
        match = _WRITTEN.fullmatch(folder)
        if match is None or f"{FOLDER}/{folder}" in used or match[1] in damaged:
            continue  # somebody's own, or it has a marker that may be mended by hand
        run.delete(f"{FOLDER}/{folder}", recursive=True)


def list_checkpoints(run: Store) -> list[Marker]:
    """Return the checkpoints with a marker and files of the right sizes, oldest first."""
    markers = marked_checkpoints(run)
    whole = [marker for marker in markers if have_sizes(run, marker.sizes)]
    return sorted(whole, key=lambda m: (m.phase_idx, m.step))


def read_latest(run: Store) -> Checkpoint | None:
    """Return the newest checkpoint whose checksums are right, or None; torn ones are passed
    over.
    """
    for marker in reversed(list_checkpoints(run)):
        try:
            return _read(run, marker)
        except (DamagedError, FileNotFoundError) as error:
            _log.warning("checkpoint %s is passed over: %s", marker.name, error)
            # forgotten, so that training writes it anew and no evaluation stumbles over it
            with suppress(OSError, EaglerayError):
                run.delete(marker.path)
    return None


def marked_checkpoints(run: Store) -> list[Marker]:
    """Return all markers, whatever has become of their files."""
    return [m for path in _marker_paths(run) if (m := Marker.read(run, path)) is not None]


def _marker_paths(run: Store) -> list[str]:
    """Return the files that training writes as markers; others (somebody's copies) are passed over
    with a warning, and so are folders.
    """
    paths = [path for path in run.files(FOLDER) if path != _BEST]
    ours = [path for path in paths if _MARKER.fullmatch(path)]
    strange = [path for path in paths if path not in ours]
    strange += [f"{FOLDER}/{f}" for f in run.folders(FOLDER) if not _WRITTEN.fullmatch(f)]
    for path in strange:
        warn_once(_log, f"{run.uri}/{path} is no checkpoint of this run and is passed over")
    return ours


def damaged_files(run: Store, marker: Marker) -> list[tuple[str, str]]:
    """Return path and reason of each file of a checkpoint that is not what its marker says."""
    damaged = []
    for name, promised in marker.files.items():
        path = marker.file_path(name)
        try:
            read_checked(run, path, promised.sha256)
        except (DamagedError, OSError) as error:
            damaged.append((path, str(error)))
    return damaged


def forget_checkpoint(run: Store, marker: Marker) -> None:
    """Delete a checkpoint, its marker first."""
    retract(run, marker.path, marker.content)


def forget_after_gap(run: Store) -> None:
    """Delete checkpoints of phases that began before the phase ahead of them was done.

    A run with a limit goes through all phases in a few steps each; without the limit it must finish
    the first of them before the next one counts.
    """
    last = {m.phase_idx: m for m in list_checkpoints(run)}
    unfinished = [i for i, m in last.items() if not m.phase_done]
    for marker in list_checkpoints(run):
        if unfinished and marker.phase_idx > min(unfinished):
            retract(run, marker.path, marker.content)


def read_checkpoint(run: Store, name: str) -> Checkpoint:
    """Return a checkpoint by name.

    Raises:
        DamagedError: A file does not have the checksum that its marker says.
        EaglerayError: It has no marker.
    """
    marker = Marker.read(run, f"{FOLDER}/{name}.json")
    if marker is None:
        raise EaglerayError(
            f"{run.uri}/{FOLDER} has no checkpoint {name!r} any more: was it deleted while this "
            "process began? Give the same command again"
        )
    return _read(run, marker)


def read_model_file(run: Store, marker: Marker) -> bytes:
    """Return the content of a checkpoint's ``model.safetensors``.

    Raises:
        DamagedError: It does not have the checksum that the marker says.
    """
    return _read_file(run, marker, MODEL)


def _read(run: Store, marker: Marker) -> Checkpoint:
    moments: Moments = {}
    raw: dict[str, Tensor] = {}
    for key, value in load_tensors(_read_file(run, marker, OPTIMIZER)).items():
        parameter, _, entry = key.rpartition("/")
        if entry == _RAW:
            raw[parameter] = value
        else:
            moments.setdefault(parameter, {})[entry] = value
    state = TrainState(**json.loads(_read_file(run, marker, STATE)))
    model = read_model_file(run, marker)
    weights = load_tensors(model)
    _refuse_nan(run, marker, weights | raw)
    return Checkpoint(state, weights, moments, raw, ModelHeader.of(model).frozen)


def _refuse_nan(run: Store, marker: Marker, weights: Mapping[str, Tensor]) -> None:
    """Refuse to go on from weights that are lost: every later step would be skipped."""
    lost = [n for n, v in weights.items() if v.is_floating_point() and bool(v.isnan().any())]
    if lost:
        shown = ", ".join(lost[:_NAN_SHOWN]) + (", ..." if lost[_NAN_SHOWN:] else "")
        raise EaglerayError(
            f"checkpoint {marker.name} of {run.uri} holds NaN in {len(lost)} of {len(weights)} "
            f"tensors ({shown}): training diverged before it was written. Delete {marker.path} to "
            "go on from the checkpoint before, with a lower learning rate or clip_norm, or give "
            "--new to begin again"
        )


def _read_file(run: Store, marker: Marker, file: str) -> bytes:
    return read_checked(
        run,
        marker.file_path(file),
        marker.files[file].sha256,
        remedy="`eagleray verify STORAGE --repair` forgets that checkpoint, and the one before it "
        "is used",
    )


def keep_checkpoints(run: Store, keep: int) -> None:
    """Delete all but the latest ``keep``, the best one and the last one of each phase."""
    markers = list_checkpoints(run)
    best = read_best(run)
    kept = {m.name for m in markers[-keep:]} | {
        m.name for m in {m.phase_idx: m for m in markers}.values()
    }
    for marker in markers:
        if marker.name not in kept and (best is None or marker.name != best.checkpoint):
            retract(run, marker.path, marker.content)


def write_best(run: Store, best: BestCheckpoint) -> None:
    """Name the best checkpoint."""
    run.write(_BEST, _json(asdict(best)))


def read_best(run: Store) -> BestCheckpoint | None:
    """Return the best checkpoint, or None if nothing was validated."""
    try:
        return BestCheckpoint(**json.loads(run.read(_BEST)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
