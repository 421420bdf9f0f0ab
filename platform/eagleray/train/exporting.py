"""One self-contained file of a checkpoint's weights, and reading it back.

The file holds every tensor, those of frozen files included, and says in its header which task,
settings and run it is of. ``--checkpoint FILE`` takes it like any other, and ``eagleray import``
makes weights and an experiment of it.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from eagleray.storage import Store
from eagleray.task import ImportedCheckpoint, ModelTask, PublishedFiles, SettingsError
from eagleray.train.model_file import ExportOrigin, ModelHeader, encode_model
from eagleray.train.weights import load_exactly, read_weights


def export_weights(task: ModelTask, weights: Path, output: Path, origin: ExportOrigin) -> int:
    """Write one file that holds all of a model's tensors; return its size in bytes.

    Args:
        task: Builds the model, and reads its frozen files.
        weights: A checkpoint's ``model.safetensors``.
        output: What is written; a file that is there is replaced.
        origin: What the file says of itself.

    Raises:
        SettingsError: The weights do not fit, a frozen file is missing or another one, or the
            output's name does not say what it is.
    """
    if output.suffix != ".safetensors":
        raise SettingsError(
            f"an export is a safetensors file, found {str(output)!r}: give --output a name that "
            "ends in .safetensors"
        )
    model = task.build()
    load_exactly(task, model, weights)
    state = model.state_dict()
    tensors = {k: v.contiguous().clone() for k, v in state.items() if isinstance(v, Tensor)}
    content = encode_model(tensors, export=origin)
    Store(str(output.absolute().parent)).write(output.name, content)
    return len(content)


def read_exported(path: Path) -> PublishedFiles | None:
    """Return the weights and the experiment of a file that ``export_weights`` wrote; None for any
    other file.

    Raises:
        SettingsError: It is damaged.
    """
    origin = ModelHeader.read(path).export if path.is_file() else None
    if origin is None:
        return None
    tensors = read_weights(path)
    return PublishedFiles(
        ImportedCheckpoint(tensors, {name: name for name in tensors}),
        {"task": origin.task, "settings": dict(origin.settings)},
        notes=(f"exported by eagleray: task {origin.task}, {origin.run}, {origin.checkpoint}",),
    )
