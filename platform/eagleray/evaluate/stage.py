"""Evaluation as a stage: its items are the benchmark's units, its records their rows.

So evaluation shards, resumes and rejects like any preprocessing, and a metric over a whole split
is exact whatever the number of workers.
"""

from __future__ import annotations

import io
import json
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from eagleray.evaluate.arithmetic import Arithmetic, Precision
from eagleray.evaluate.model_stage import UnitSettings, UnitStage
from eagleray.prepare.marker import CommittedFile
from eagleray.runs.evaluation import LAYER_FOLDER, PICTURE_FOLDER
from eagleray.storage import SharedFile
from eagleray.task import (
    LATER,
    Benchmark,
    Dataset,
    Evaluation,
    Item,
    LabelLayers,
    Record,
    Rows,
)

_MOST_SEGMENTS = 65_535
PICTURE_ERROR = "picture_error.txt"
"""File of a unit whose pictures could not be made: the traceback."""


class EvaluationSettings(UnitSettings):
    """What the rows of an evaluation depend on, beside the weights."""

    benchmark: str = Field(description="Name of the benchmark.")
    pictures: int = Field(description="Number of first units whose pictures are kept.")
    precision: Annotated[Precision, LATER] = Field("fp32", description="Arithmetic.")


class EvaluationStage(UnitStage[Evaluation, EvaluationSettings]):
    """Predicts and scores the units of one benchmark with one checkpoint.

    Args:
        task: The task.
        benchmark: One of its benchmarks.
        weights: The checkpoint's ``model.safetensors``.
        settings: What the rows depend on.
        rows: Rows of the prepared stages by label.
        batch_size: Units per forward pass.
        gpus: GPUs per worker.
        arithmetic: How the model computes.
        ahead: Units whose rows are asked for before they are read, where rows are not stored.
    """

    name = "evaluate"

    def __init__(
        self,
        task: Evaluation,
        benchmark: Benchmark,
        weights: SharedFile,
        settings: EvaluationSettings,
        rows: Mapping[str, Rows],
        *,
        batch_size: int,
        gpus: float,
        arithmetic: Arithmetic = Arithmetic(),  # noqa: B008 - frozen
        ahead: int = 1,
    ) -> None:
        super().__init__(
            task,
            weights,
            settings,
            rows,
            batch_size=batch_size,
            gpus=gpus,
            arithmetic=arithmetic,
            ahead=ahead,
        )
        self._benchmark = benchmark
        self.source = benchmark.name
        self.schema = dict(benchmark.schema)

    def dataset(self, rows: Mapping[str, Rows]) -> Dataset:
        """Return the benchmark's units.

        Raises:
            TypeError: The task gives no map-style dataset.
        """
        dataset = self._task.dataset(self._benchmark.source, rows)
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"benchmark {self._benchmark.name!r} needs a map-style Dataset, "
                f"found {type(dataset).__name__}"
            )
        return dataset

    def payload(self, index: int) -> dict[str, Any]:
        """Return what a unit's item carries: also whether its pictures are kept."""
        return {"index": index, "picture": index < self._settings.pictures}

    def encode(self, processed: tuple[Item, Any, Any]) -> Sequence[Record]:
        """Score a unit, and draw it if it is one of the first."""
        item, sample, prediction = processed
        row = self._task.score(self._benchmark.name, sample, prediction)
        files = self._pictures(item, sample, prediction) if item.payload["picture"] else {}
        return [Record(item.key, row, files)]

    def _pictures(self, item: Item, sample: Any, prediction: Any) -> dict[str, bytes]:
        """Return the unit's pictures, or why there are none: a picture never touches a number."""
        try:
            pictures = self._task.picture(sample, prediction)
            files = {
                f"{PICTURE_FOLDER}/{item.key}.{name}.png": encode_png(image)
                for name, image in pictures.items()
            }
            layers = self._task.layers(sample, prediction)
            files |= layer_files(item.key, layers) if layers is not None else {}
            for path in files:
                CommittedFile.of("", item.key, path, b"")  # refuses names that leave the folder
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            return {PICTURE_ERROR: text.encode("utf-8", "replace")}
        return files


def layer_files(key: str, layers: LabelLayers) -> dict[str, bytes]:
    """Return labels as files of a unit: a PNG per picture (segment = red + 256 green), and a JSON
    that says what the segments are.

    Raises:
        ValueError: A picture has more segments than fit.
    """
    files: dict[str, bytes] = {}
    told: dict[str, Any] = {}
    for name, layer in layers.layers.items():
        ids = np.asarray(layer.ids)
        if ids.size and (ids.min() < 0 or ids.max() > len(layer.classes)):
            raise ValueError(
                f"layer {name} holds segments {ids.min()}..{ids.max()}, but lists "
                f"{len(layer.classes)}"
            )
        if len(layer.classes) > _MOST_SEGMENTS:
            raise ValueError(f"layer {name} has more than {_MOST_SEGMENTS} segments")
        image = np.stack([ids & 255, ids >> 8, np.zeros_like(ids)], axis=-1).astype(np.uint8)
        files[f"{LAYER_FOLDER}/{key}.{name}.png"] = encode_png(image)
        scores = [round(float(score), 4) for score in layer.scores]
        told[name] = {"classes": [int(c) for c in layer.classes], "scores": scores}
    colors = np.asarray(layers.colors).tolist()
    record = {"names": list(layers.names), "colors": colors, "layers": told}
    return {**files, f"{LAYER_FOLDER}/{key}.json": json.dumps(record).encode()}


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return an RGB picture, uint8 (H, W, 3), as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
