"""Prediction as a stage: its items are a user's files, its results the exported files.

Files are decoded before the device and exported behind it, both in threads. Exports are written
straight to the output folder (whole files, nothing half-written); the rows remember what was
written, so that the same command goes on where it stopped.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import torch
from pydantic import Field

from eagleray.evaluate.arithmetic import Arithmetic, Precision
from eagleray.evaluate.model_stage import ModelStage
from eagleray.predict.output_folder import Exports, OutputFolder
from eagleray.prepare.fingerprint import short_hash
from eagleray.storage import SharedFile
from eagleray.task import (
    LATER,
    InputError,
    Item,
    Prediction,
    Record,
    Resources,
    Rows,
    Settings,
)

_THREADS = {"cpu": 2, "cuda": 4}
"""Threads that decode, and threads that export, per worker: a GPU needs more of them."""


class PredictSettings(Settings):
    """What exported files depend on, beside the weights."""

    task: str = Field(description="Name of the task.")
    settings: dict[str, Any] = Field(description="The task's settings.")
    formats: tuple[str, ...] = Field(description="Export formats.")
    precision: Annotated[Precision, LATER] = Field("fp32", description="Arithmetic.")
    flags: Annotated[dict[str, Any], LATER] = Field({}, description="The task's own flags.")


class PredictStage(ModelStage[Prediction, PredictSettings]):
    """Predicts and exports a user's files.

    Args:
        task: The task.
        weights: A checkpoint's ``model.safetensors``.
        settings: What the exports depend on.
        paths: Files and folders.
        output: Where exports are written.
        batch_size: Files per forward pass.
        gpus: GPUs per worker.
        arithmetic: How the model computes.
    """

    name = "predict"

    def __init__(
        self,
        task: Prediction,
        weights: SharedFile,
        settings: PredictSettings,
        paths: Sequence[Path],
        output: OutputFolder,
        *,
        batch_size: int,
        gpus: float,
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(task, weights, settings, arithmetic)
        self._paths, self._output = list(paths), output
        self.schema = Exports.SCHEMA
        threads = _THREADS["cuda" if gpus else "cpu"]
        self.resources = Resources(
            batch_size=batch_size,
            gpus=gpus,
            seconds_per_item=1.0,
            loader_threads=threads,
            writer_threads=threads,
        )

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the files as the task reads them; keys that collide keep their files' suffixes."""
        return iter(apart_by_suffix(list(self._task.inputs(self._paths))))

    def load(self, item: Item) -> Any:
        """Decode one file."""
        with self._timed("load"):
            return item, self._task.load_input(item)

    def process(self, samples: Sequence[Any]) -> Sequence[Any]:
        """Predict a batch."""
        with self._timed("device"):
            predictions = self._predicted([sample for _, sample in samples])
        return [(*sample, one) for sample, one in zip(samples, predictions, strict=True)]

    def encode(self, processed: Any) -> Sequence[Record]:
        """Write the exports of one file, once all its formats are made."""
        item, sample, prediction = processed
        with self._timed("export"), torch.inference_mode():
            by_format: dict[str, dict[str, bytes]] = {}
            index = {}
            for format_name in self._settings.formats:
                record = self._task.export(item, sample, prediction, format_name)
                by_format[format_name] = {
                    _checked(name, item): data for name, data in record.files.items()
                }
                index[format_name] = dict(record.row)
            exports = Exports(self._output.write(apart_by_format(by_format)), index)
        return [Record(item.key, exports.row())]

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        """Note when a worker did something, for whoever asks what a job waits for."""
        begin = time.time()
        yield
        self._output.log({"what": what, "begin_s": round(begin, 4), "end_s": round(time.time(), 4)})


def apart_by_format(by_format: Mapping[str, Mapping[str, bytes]]) -> dict[str, bytes]:
    """Return the files of all formats; a name that several formats give lies in a folder of each.

    Example:
        >>> sorted(apart_by_format({"mask": {"a.png": b"1"}, "depth": {"a.png": b"2", "b": b"3"}}))
        ['b', 'depth/a.png', 'mask/a.png']
    """
    counts = Counter(name for files in by_format.values() for name in files)
    return {
        f"{format_name}/{name}" if counts[name] > 1 else name: content
        for format_name, files in by_format.items()
        for name, content in files.items()
    }


def apart_by_suffix(items: Sequence[Item]) -> list[Item]:
    """Return the items with keys of their own: of ``a.jpg`` and ``a.png`` both keep the suffix of
    the ``path`` in their payload, files of one name in several folders get a digest of it too.
    """
    keys = [item.key for item in items]
    paths = [Path(str(item.payload.get("path", ""))) for item in items]
    for longer in (
        [key + path.suffix for key, path in zip(keys, paths, strict=True)],
        [
            f"{key}-{short_hash(str(path).encode('utf-8', 'surrogatepass'), 4)}{path.suffix}"
            for key, path in zip(keys, paths, strict=True)
        ],
    ):
        counts = Counter(keys)
        keys = [new if counts[old] > 1 else old for old, new in zip(keys, longer, strict=True)]
    return [
        item if item.key == key else replace(item, key=key)
        for item, key in zip(items, keys, strict=True)
    ]


def _checked(name: str, item: Item) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name:
        raise InputError(
            f"{item.key}: an export cannot be called {name!r}, which leaves the output folder; "
            "rename the file"
        )
    return name
