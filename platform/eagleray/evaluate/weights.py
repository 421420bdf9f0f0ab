"""Which weights are evaluated: a checkpoint of the run, the model before training, or a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.records import INITIAL
from eagleray.runs.run_folder import RunFolder
from eagleray.storage import SharedFile, sha256
from eagleray.task import ModelTask, Settings, SettingsError, Training, values_of_use

MODEL = "model.safetensors"
_MODEL_STEM = "model"
"""A checkpoint's weights are called this; its folder says more."""


def find_weights(run: RunFolder, checkpoint: str, task: ModelTask, seed: int) -> Path:
    """Return the path of a checkpoint's weights on this machine; arguments and errors are those of
    ``locate_weights``.
    """
    return locate_weights(run, checkpoint, task, seed).local()


def locate_weights(run: RunFolder, checkpoint: str, task: ModelTask, seed: int) -> SharedFile:
    """Return a checkpoint's weights, as workers on other machines find them too.

    Args:
        run: The run's folder.
        checkpoint: ``best``, ``last``, ``initial``, or the path or URI of a ``model.safetensors``.
        task: Builds the model for ``initial``.
        seed: Seed of the initial weights.

    Raises:
        SettingsError: There is no such checkpoint, or a frozen file that it refers to is missing
            or another one.
    """
    from eagleray.train.frozen import check_weights
    from eagleray.train.weights import checkpoint_file

    is_initial = checkpoint == INITIAL
    weights = _initial_weights(run, task, seed) if is_initial else checkpoint_file(run, checkpoint)
    check_weights(task, weights.local())
    return weights


def checkpoint_labels(checkpoints: Sequence[str]) -> Mapping[str, str]:
    """Return the name under which each checkpoint's results are kept; a file goes by its own name
    or, where that says nothing, by its folder's.

    Raises:
        SettingsError: Two checkpoints would go by the same name.

    Example:
        >>> checkpoint_labels(["best", "runs/a/model.safetensors", "old.safetensors"])
        {'best': 'best', 'runs/a/model.safetensors': 'a', 'old.safetensors': 'old'}
    """
    labels: dict[str, str] = {}
    for checkpoint in dict.fromkeys(checkpoints):
        label = _label(checkpoint)
        other = next((c for c, taken in labels.items() if taken == label), None)
        if other is not None:
            raise SettingsError(
                f"checkpoints {other!r} and {checkpoint!r} would both be called {label!r} in the "
                "results: rename one of the files or folders, or evaluate one at a time"
            )
        labels[checkpoint] = label
    return labels


def result_labels(
    run: RunFolder, experiment: ExperimentSettings, checkpoints: Sequence[str] = ()
) -> Mapping[str, str]:
    """Return the name under which each checkpoint's results are kept in a run.

    Results by other settings of use than the run was begun with stand beside its own, under a name
    with a hash of what differs: ``best-1a2b3c``.

    Args:
        run: The run.
        experiment: The experiment that evaluates.
        checkpoints: Which ones; by default ``experiment.evaluate.checkpoint``.
    """
    labels = checkpoint_labels(tuple(checkpoints) or (experiment.evaluate.checkpoint,))
    changed = changed_use(run, experiment)
    if not changed:
        return labels
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:6]
    return {checkpoint: f"{label}-{digest}" for checkpoint, label in labels.items()}


def changed_use(run: RunFolder, experiment: ExperimentSettings) -> dict[str, Any]:
    """Return the settings of use, by their dotted names, that are not those that a run was begun
    with.
    """
    if not run.is_run or not isinstance(experiment.settings, Settings):
        return {}
    begun = yaml.safe_load(run.read(run.EXPERIMENT)).get("settings", {})
    return {
        name: value
        for name, value in values_of_use(experiment.settings).items()
        if _stored(begun, name, value) != value
    }


def _stored(values: Any, name: str, default: Any) -> Any:
    """Return the value at a dotted name; the default where an older version did not write it."""
    for part in name.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return default
        values = values[part]
    return values


def _label(checkpoint: str) -> str:
    path = Path(checkpoint)
    name = path.stem if path.suffix == ".safetensors" else path.name
    if name == _MODEL_STEM and path.suffix:
        name = path.absolute().parent.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-") or _MODEL_STEM


def _initial_weights(run: RunFolder, task: ModelTask, seed: int) -> SharedFile:
    """Return the weights before training; the first call writes them into the run."""
    from eagleray.train.frozen import put_frozen
    from eagleray.train.model_file import encode_model

    path = run.checkpoint_path(INITIAL, MODEL)
    if not run.exists(path):
        torch.manual_seed(seed)
        model = task.build()
        frozen = put_frozen(task, model, None)
        if isinstance(task, Training):
            task.load_pretrained(model)
        whole = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
        left_out = {k for k, v in whole.items() if frozen.is_unchanged(k, v)}
        state = {k: v for k, v in whole.items() if k not in left_out}
        # ``create`` and not ``write``: of several processes one writes, and no reader sees a part.
        run.create(path, encode_model(state, frozen.left_out(left_out)))
    place = str(run.local_path(path)) if run.is_local else f"{run.uri.rstrip('/')}/{path}"
    return SharedFile(place, sha256(run.read(path)))
