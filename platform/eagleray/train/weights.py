"""Weights by name: into a model to begin with, or to evaluate; what does not fit is said aloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eagleray.prepare.fingerprint import file_checksum
from eagleray.storage import SharedFile, Store, is_uri
from eagleray.task import ModelTask, SettingsError, Training
from eagleray.train.checkpoint import (
    MODEL,
    list_checkpoints,
    read_best,
    read_model_file,
)
from eagleray.train.frozen import referred_tensors
from eagleray.train.model_file import ModelHeader


@dataclass(frozen=True)
class LoadedWeights:
    """What fitted and what did not.

    Args:
        source: Where the weights came from.
        loaded: Names that were loaded.
        missing: Names of the model that the file does not have; they keep their values.
        extra: Names of the file that the model does not have.
        mismatched: Names with their shapes in the file and in the model; they keep their values.
        kept: Names that the task did not want to load, by its reason.
        notes: What else the task has to say.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    mismatched: tuple[str, ...]
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded from {self.source}"]
        for what, names in (
            ("missing in the file, kept as they are", self.missing),
            ("of another shape, kept as they are", self.mismatched),
            ("not in the model, unused", self.extra),
        ):
            if names:
                lines.append(f"  {len(names)} {what}: {_some(names)}")
        for reason, names in self.kept.items():
            lines.append(f"  {len(names)} begin afresh, {reason}: {', '.join(names)}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def begin_with_weights(task: Training, model: nn.Module, path: Path) -> LoadedWeights:
    """Copy the weights of another training into a model, as far as the task lets them.

    Args:
        task: Says what must begin afresh.
        model: Changed in place.
        path: A safetensors file, or a folder that holds a ``model.safetensors``.

    Raises:
        SettingsError: The file cannot be read, nothing fits, or the task refuses.
    """
    fitted = task.fit_weights(model, read_whole(task, model, path))
    result = put_weights(model, fitted.weights, str(path))
    by_reason: dict[str, list[str]] = {}
    for name, reason in fitted.kept.items():
        by_reason.setdefault(reason, []).append(name)
    return replace(
        result,
        missing=tuple(name for name in result.missing if name not in fitted.kept),
        kept={reason: tuple(names) for reason, names in by_reason.items()},
        notes=fitted.notes,
    )


def put_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> LoadedWeights:
    """Copy tensors into a model by name.

    Args:
        model: Parameters and buffers are changed in place.
        weights: Tensors by the names of ``model.state_dict()``.
        source: Where they came from, for messages.

    Raises:
        SettingsError: Not one name fits.
    """
    own = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    shared = [k for k in own if k in weights]
    fitting = [k for k in shared if own[k].shape == weights[k].shape]
    result = LoadedWeights(
        source=source,
        loaded=tuple(fitting),
        missing=tuple(k for k in own if k not in weights),
        extra=tuple(k for k in weights if k not in own),
        mismatched=tuple(
            f"{k} {tuple(weights[k].shape)} for {tuple(own[k].shape)}"
            for k in shared
            if own[k].shape != weights[k].shape
        ),
    )
    if not fitting:
        raise SettingsError(
            f"no tensor of {source} fits the model: it has {_some(tuple(weights))}, the model has "
            f"{_some(tuple(own))}; published weights must be imported first (eagleray import)"
        )
    for key in fitting:
        own[key].copy_(weights[key])
    return result


def checkpoint_weights(run: Store, which: str) -> Path:
    """Return the path of a checkpoint's ``model.safetensors`` on this machine; arguments and errors
    are those of ``checkpoint_file``.
    """
    return checkpoint_file(run, which).local()


def checkpoint_file(run: Store, which: str) -> SharedFile:
    """Return a checkpoint's ``model.safetensors``.

    Args:
        run: The run's folder.
        which: ``best`` (``last`` if nothing was validated), ``last``, the name of a checkpoint, or
            the path or URI of a safetensors file or of a folder that holds a ``model.safetensors``.

    Raises:
        SettingsError: There is no such checkpoint.
    """
    markers = {m.name: m for m in list_checkpoints(run)}
    names = list(markers)
    best = read_best(run) if which == "best" else None
    name = best.checkpoint if best else names[-1] if which in ("best", "last") and names else which
    if name in markers:
        marker = markers[name]
        path = marker.file_path(MODEL)
        if not run.is_local:
            return SharedFile(f"{run.uri.rstrip('/')}/{path}", marker.files[MODEL].sha256)
        read_model_file(run, marker)  # compares the checksum
        return SharedFile(str(run.local_path(path)), marker.files[MODEL].sha256)
    given = weights_file(which)
    if is_uri(given):
        return SharedFile.fetched(given)
    file = Path(given).absolute()  # workers have a folder of their own
    if file.is_file() and file.suffix == ".safetensors":
        return SharedFile(str(file), file_checksum(file))
    raise SettingsError(
        f"there is no checkpoint {which!r} in {run.uri}: allowed are best, last, one of {names}, "
        "or the path of a safetensors file; train first, or import published weights"
    )


def weights_file(place: str) -> str:
    """Return the path or URI of a safetensors file that a user names by itself or by its folder."""
    if is_uri(place):
        whole = place.rstrip("/")
        return whole if whole.endswith(".safetensors") else f"{whole}/{MODEL}"
    path = Path(place).expanduser()
    return str(path / MODEL if path.is_dir() else path)


def local_weights(place: str) -> Path:
    """Return the path of weights on this machine, by their path or URI.

    Raises:
        SettingsError: The URI cannot be read.
    """
    file = weights_file(place)
    return SharedFile.fetched(file).local() if is_uri(file) else Path(file)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or the ``model.safetensors`` of a folder.

    Raises:
        SettingsError: It is not there, not a safetensors file (pickles are never opened), or a
            tensor holds NaN.
    """
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        what = "no regular file" if file.exists() else "there are no weights"
        raise SettingsError(
            f"{what} at {file}: check train.init_from, or which checkpoint was asked for"
        )
    try:
        weights = load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"{file} is not a safetensors file ({error}): give a checkpoint folder of a run, a "
            "model.safetensors, or import published weights first (eagleray import)"
        ) from error
    wrong = tuple(n for n, v in weights.items() if v.is_floating_point() and _has_nan(v))
    if wrong:
        raise SettingsError(
            f"{file}: {len(wrong)} of {len(weights)} tensors hold NaN ({_some(wrong)}), so the "
            "training that wrote it had diverged; take an earlier checkpoint"
        )
    return weights


def read_whole(task: ModelTask, model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Read the weights of a file, with those that it leaves out because a frozen file has them.

    Args:
        task: Reads its frozen files.
        model: Its model, which says how tensors are called.
        path: A safetensors file, or a folder that holds a ``model.safetensors``.

    Raises:
        SettingsError: The file, or a frozen file that it refers to, cannot be read or is another.
    """
    weights = read_weights(path)
    file = path / MODEL if path.is_dir() else path
    referred = ModelHeader.read(file).frozen
    return {**weights, **referred_tensors(task, model, referred, str(file))}


def load_exactly(task: ModelTask, model: nn.Module, path: Path) -> None:
    """Give a model the weights of a file, every tensor of it.

    Raises:
        SettingsError: The file cannot be read, or its tensors are not the model's.
    """
    weights = read_whole(task, model, path)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        own = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
        missing = tuple(k for k in own if k not in weights)
        extra = tuple(k for k in weights if k not in own)
        shapes = tuple(
            f"{k} {tuple(weights[k].shape)} for {tuple(v.shape)}"
            for k, v in own.items()
            if k in weights and weights[k].shape != v.shape
        )
        kinds = (("missing", missing), ("unknown", extra), ("of another shape", shapes))
        listed = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in kinds if names)
        raise SettingsError(
            f"{path} does not fit the model of these settings ({listed or error}): give the "
            "experiment that it was trained with, or import published weights first (eagleray "
            "import)"
        ) from error


def _has_nan(value: Tensor) -> bool:
    return bool(value.float().isnan().any())


def _some(names: tuple[str, ...], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
