"""The task: what the engine calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from eagleray.task import (
    Benchmark,
    Item,
    LossTerm,
    Metrics,
    Phase,
    Record,
    Requirement,
    Rows,
    Schedule,
    Settings,
    Stage,
    StepContext,
    Task,
)
from eagleray_vision.images.overlay import blend, color_labels
from eagleray_vision.images.palette import distinct_palette
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_nearest, resize_rgb
from eagleray_vision.inputs.listing import input_path, list_inputs
from eagleray_vision.metrics.mean_iou import compute_mean_iou, confusion_matrix
from eagleray_vision.panoptic.label_image import encode_png

from .data import Batch, Pictures, Sample, as_image
from .model import Network
from .settings import MyTaskSettings
from .stages import VOID, PictureStage

Classes = npt.NDArray[np.uint8]
"""A prediction: ``(H, W)`` classes."""


class MyTask(Task[Network, Sample, Batch, Classes]):
    """A class for every pixel."""

    name: ClassVar[str] = "my_task"
    summary: ClassVar[str] = "Semantic segmentation: a class for every pixel."
    settings_type: ClassVar[type[Settings]] = MyTaskSettings
    formats: ClassVar[Sequence[str]] = ("labels", "overlay")
    settings: MyTaskSettings

    def requirements(self) -> Sequence[Requirement]:
        """Ask for the data's folder, where one is named."""
        root = self.settings.data.root
        there = not root or (Path(root).expanduser() / "train" / "images").is_dir()
        return (Requirement("data", there, f"{root!r} needs train/images; set data.root"),)

    def stages(self) -> Sequence[Stage]:
        """Return one stage per split."""
        return [PictureStage(self.settings.data, source) for source in ("train", "val")]

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Pictures:
        """Return the pictures of a split."""
        return Pictures(rows[f"pictures:{source}"], mirrored=source == "train")

    def build(self) -> Network:
        """Return the network."""
        return Network(self.settings.channels, len(self.settings.data.classes))

    def phases(self) -> Sequence[Phase]:
        """Return the recipe."""
        return (
            Phase(
                epochs=self.settings.epochs,
                batch_size=8,
                optimizer="adamw",
                lr=self.settings.lr,
                schedule=Schedule(kind="cosine"),
            ),
        )

    def losses(self, model: Network, batch: Batch, step: StepContext) -> Mapping[str, LossTerm]:
        """Return the cross entropy, summed over the labeled pixels."""
        logits = model(batch.images)
        loss = F.cross_entropy(logits, batch.labels, ignore_index=VOID, reduction="sum")
        return {"cross_entropy": LossTerm(loss, (batch.labels != VOID).sum())}

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the mean IoU over the pictures of ``val``."""
        protocol = f"Mean IoU at {self.settings.data.size_px} px; unlabeled pixels are left out."
        return (Benchmark("val", "val", "miou", protocol, {"confusion": "list<int64>"}),)

    def predict(self, model: Network, samples: Sequence[Sample]) -> Sequence[Classes]:
        """Return the most likely class of every pixel."""
        logits = [model(sample.image[None])[0] for sample in samples]
        return [one.argmax(0).to(torch.uint8).cpu().numpy() for one in logits]

    def score(self, benchmark: str, sample: Sample, prediction: Classes) -> Mapping[str, Any]:
        """Return the confusion matrix of one picture."""
        if sample.labels is None:
            raise ValueError("a benchmark's picture has no labels")
        counts = confusion_matrix(sample.labels, prediction, len(self.settings.data.classes))
        return {"confusion": counts.ravel()}

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return mean IoU, pixel accuracy and the IoU of each class."""
        classes = self.settings.data.classes
        shape = (len(classes), len(classes) + 1)
        iou = compute_mean_iou(np.asarray(row["confusion"]).reshape(shape) for row in rows)
        per_class = {
            name: {"iou": float(value)} for name, value in zip(classes, iou.per_class, strict=True)
        }
        return Metrics({"miou": iou.mean, "pixel_accuracy": iou.pixel_accuracy}, per_class)

    def picture(self, sample: Sample, prediction: Classes) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return photograph, truth and prediction."""
        shown = {"input": sample.photo, "prediction": self._colored(prediction)}
        return shown if sample.labels is None else {**shown, "truth": self._colored(sample.labels)}

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List photographs of any format."""
        return list_inputs(paths)

    def load_input(self, item: Item) -> Sample:
        """Read one photograph; raises InputError for what is none."""
        photo = read_rgb(input_path(item), apply_orientation=True)
        size = self.settings.data.size_px
        return Sample(as_image(resize_rgb(photo, (size, size))), photo)

    def export(self, item: Item, sample: Sample, prediction: Classes, format: str) -> Record:
        """Write the classes at the photograph's size, as numbers or as a picture."""
        height, width = sample.photo.shape[:2]
        classes = resize_nearest(prediction, (height, width))
        if format == "overlay":
            classes = blend(sample.photo, self._colored(classes))
        return Record(item.key, {}, {f"{format}/{item.key}.png": encode_png(classes)})

    def _colored(self, classes: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        return color_labels(classes, distinct_palette(len(self.settings.data.classes)))
