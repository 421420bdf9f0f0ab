"""Checkpoints that know neither world size nor ZeRO stage.

In ``checkpoints/`` of a run, for the checkpoint ``<phase>-<step>``:

    <name>/model.safetensors      what is evaluated: float32 weights and buffers by name; the moving
                                  average of the weights where the phase has one
    <name>/optimizer.safetensors  moments by parameter name; with an average also the weights that
                                  training goes on with
    <name>/state.json             position and counters
    <name>.json                   marker, created last: checksums of the three
    best.json                     name of the best checkpoint and its score

A folder without a valid marker does not exist for a reader. Only safetensors and JSON are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from eagleray.storage import Store
from eagleray.task import EaglerayError
from eagleray.train.strategies import Strategy
from eagleray.train.strategies.base import Moments, MovingAverage, cpu_copy, evaluated_state

_log = logging.getLogger(__name__)

FOLDER = "checkpoints"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
_BEST = f"{FOLDER}/best.json"
_RAW = "weight"


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
    """

    state: TrainState
    model: dict[str, Tensor]
    moments: Moments
    raw: dict[str, Tensor]


@dataclass(frozen=True)
class Marker:
    """A valid checkpoint's name and position."""

    name: str
    phase_idx: int
    step: int
    total_step: int
    phase_done: bool


def take_snapshot(
    strategy: Strategy, average: MovingAverage | None, state: TrainState
) -> Checkpoint | None:
    """Return a checkpoint in CPU memory on rank 0, None on the others (collective)."""
    strategy.sync_buffers()
    keep = strategy.rank == 0
    model = {n: cpu_copy(v) for n, v in evaluated_state(strategy, average) if keep}
    raw: dict[str, Tensor] = {}
    if average is not None:
        raw = {n: cpu_copy(v) for n, v in strategy.whole_parameters() if keep}
    moments = strategy.moments()
    return Checkpoint(state, model, moments, raw) if keep else None


def write_checkpoint(run: Store, checkpoint: Checkpoint) -> str:
    """Write a checkpoint and then its marker; return its name. One that is there and valid is left
    alone.
    """
    name = checkpoint.state.name
    if name in [m.name for m in list_checkpoints(run)]:
        return name
    run.delete(f"{FOLDER}/{name}.json")
    flat = {f"{p}/{k}": v for p, state in checkpoint.moments.items() for k, v in state.items()}
    flat |= {f"{p}/{_RAW}": v for p, v in checkpoint.raw.items()}
    contents = {
        MODEL: save_tensors(checkpoint.model),
        OPTIMIZER: save_tensors(flat),
        STATE: _json(asdict(checkpoint.state)),
    }
    for file, content in contents.items():
        run.write(f"{FOLDER}/{name}/{file}", content)
    state = checkpoint.state
    marker = {
        "phase_idx": state.phase_idx,
        "step": state.step,
        "total_step": state.total_step,
        "phase_done": state.phase_done,
        "files": {f: {"bytes": len(c), "sha256": sha256(c)} for f, c in contents.items()},
    }
    run.create(f"{FOLDER}/{name}.json", _json(marker))
    return name


def list_checkpoints(run: Store) -> list[Marker]:
    """Return the checkpoints with a marker and files of the right sizes, oldest first."""
    found = []
    for path in run.files(FOLDER):
        name = path.removeprefix(f"{FOLDER}/").removesuffix(".json")
        raw = _read_json(run, path)
        if path == _BEST or raw is None or not _sizes_match(run, name, raw):
            continue
        found.append(
            Marker(name, raw["phase_idx"], raw["step"], raw["total_step"], raw["phase_done"])
        )
    return sorted(found, key=lambda m: (m.phase_idx, m.step))


def read_latest(run: Store) -> Checkpoint | None:
    """Return the newest checkpoint whose checksums are right, or None; torn ones are passed
    over.
    """
    for marker in reversed(list_checkpoints(run)):
        try:
            return read_checkpoint(run, marker.name)
        except (EaglerayError, FileNotFoundError) as error:
            _log.warning("checkpoint %s is passed over: %s", marker.name, error)
    return None


def forget_after_gap(run: Store) -> None:
    """Delete checkpoints of phases that began before the phase ahead of them was done.

    A run with a limit goes through all phases in a few steps each; without the limit it must finish
    the first of them before the next one counts.
    """
    last = {m.phase_idx: m for m in list_checkpoints(run)}
    unfinished = [i for i, m in last.items() if not m.phase_done]
    for marker in list_checkpoints(run):
        if unfinished and marker.phase_idx > min(unfinished):
            run.delete(f"{FOLDER}/{marker.name}.json")
            run.delete(f"{FOLDER}/{marker.name}", recursive=True)


def read_checkpoint(run: Store, name: str) -> Checkpoint:
    """Return a checkpoint by name.

    Raises:
        EaglerayError: A file does not have the checksum that its marker says.
    """
    contents = {f: read_checked(run, name, f) for f in (MODEL, OPTIMIZER, STATE)}
    moments: Moments = {}
    raw: dict[str, Tensor] = {}
    for key, value in load_tensors(contents[OPTIMIZER]).items():
        parameter, _, entry = key.rpartition("/")
        if entry == _RAW:
            raw[parameter] = value
        else:
            moments.setdefault(parameter, {})[entry] = value
    state = TrainState(**json.loads(contents[STATE]))
    return Checkpoint(state, load_tensors(contents[MODEL]), moments, raw)


def keep_checkpoints(run: Store, keep: int) -> None:
    """Delete all but the latest ``keep``, the best one and the last one of each phase."""
    markers = list_checkpoints(run)
    best = read_best(run)
    kept = {m.name for m in markers[-keep:]} | {
        m.name for m in {m.phase_idx: m for m in markers}.values()
    }
    for marker in markers:
        if marker.name not in kept and (best is None or marker.name != best["checkpoint"]):
            run.delete(f"{FOLDER}/{marker.name}.json")
            run.delete(f"{FOLDER}/{marker.name}", recursive=True)


def write_best(run: Store, checkpoint: str, metric: str, value: float) -> None:
    """Name the best checkpoint."""
    run.write(_BEST, _json({"checkpoint": checkpoint, "metric": metric, "value": value}))


def read_best(run: Store) -> dict[str, Any] | None:
    """Return the best checkpoint's name, metric and value, or None if nothing was validated."""
    return _read_json(run, _BEST)


def read_checked(run: Store, name: str, file: str) -> bytes:
    """Return a file of a checkpoint.

    Raises:
        EaglerayError: It does not have the checksum that the marker says.
    """
    marker = json.loads(run.read(f"{FOLDER}/{name}.json"))
    content = run.read(f"{FOLDER}/{name}/{file}")
    expected = marker["files"][file]["sha256"]
    if sha256(content) != expected:
        raise EaglerayError(
            f"{run.uri}/{FOLDER}/{name}/{file} is damaged: its marker says SHA-256 {expected}, "
            f"found {sha256(content)}; delete that checkpoint, the one before it will be used"
        )
    return content


def _sizes_match(run: Store, name: str, marker: Mapping[str, Any]) -> bool:
    try:
        return all(
            run.size(f"{FOLDER}/{name}/{f}") == v["bytes"] for f, v in marker["files"].items()
        )
    except (FileNotFoundError, KeyError, TypeError):
        return False


def _read_json(run: Store, path: str) -> dict[str, Any] | None:
    try:
        found = json.loads(run.read(path))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
