"""The task: what the engine calls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

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
from eagleray_vision.images.palette import distinct_palette
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.images.resizing import resize_rgb
from eagleray_vision.inputs.listing import input_path, list_inputs
from eagleray_vision.panoptic.label_image import encode_png

from .boxes import Things, average_precision
from .data import Batch, Pictures, Sample, as_image
from .model import STRIDE, Network
from .settings import MyTaskSettings
from .stages import BoxStage

FOCUS = 2.0
"""Exponent that turns the loss of centers away from easy cells (Lin et al., "Focal Loss for Dense
Object Detection", ICCV 2017)."""
SHOWN_SCORE = 0.3
"""Boxes that are surer are drawn."""


class MyTask(Task[Network, Sample, Batch, Things]):
    """A box and a class for every thing."""

    name: ClassVar[str] = "my_task"
    summary: ClassVar[str] = "Detection: a box and a class for every thing."
    settings_type: ClassVar[type[Settings]] = MyTaskSettings
    formats: ClassVar[Sequence[str]] = ("json", "overlay")
    settings: MyTaskSettings

    def requirements(self) -> Sequence[Requirement]:
        """Ask for the data's folder, where one is named."""
        root = self.settings.data.root
        there = not root or (Path(root).expanduser() / "train" / "boxes.json").is_file()
        return (Requirement("data", there, f"{root!r} needs train/boxes.json; set data.root"),)

    def stages(self) -> Sequence[Stage]:
        """Return one stage per split."""
        return [BoxStage(self.settings.data, source) for source in ("train", "val")]

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Pictures:
        """Return the pictures of a split."""
        num_classes = len(self.settings.data.classes)
        return Pictures(rows[f"boxes:{source}"], num_classes, mirrored=source == "train")

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
        """Return the focal loss of centers and the distance of edges, both per thing."""
        logits, edges = model(batch.images)
        is_center = batch.centers == 1
        number = is_center.sum()
        cross = F.binary_cross_entropy_with_logits(logits, is_center.float(), reduction="none")
        doubt = 1 - torch.exp(-cross)
        centers = (doubt**FOCUS * cross)[batch.centers >= 0].sum()
        here = is_center.any(1, keepdim=True)
        distance = ((edges - batch.edges).abs() * here).sum()
        return {"centers": LossTerm(centers, number), "edges": LossTerm(distance, number, 0.25)}

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return average precision over the pictures of ``val``."""
        protocol = f"AP at IoU 0.5, area below all points; {self.settings.data.size_px} px."
        schema = {
            f"{whose}_{what}": kind
            for whose in ("truth", "found")
            for what, kind in (
                ("boxes_xyxy", "list<float32>"),
                ("classes", "list<int64>"),
                ("scores", "list<float32>"),
            )
        }
        return (Benchmark("val", "val", "ap50", protocol, schema),)

    def predict(self, model: Network, samples: Sequence[Sample]) -> Sequence[Things]:
        """Return the surest boxes of each picture."""
        return [self._things(*model(sample.image[None])) for sample in samples]

    def _things(self, logits: Tensor, edges: Tensor) -> Things:
        """Return the things of one picture: cells that are surer than all around them."""
        sure = logits[0].sigmoid()
        peaks = torch.where(sure == F.max_pool2d(sure, 3, 1, 1), sure, 0)
        number = min(self.settings.max_boxes, peaks.numel())
        scores, positions = peaks.flatten().topk(number)
        classes, cells = positions // sure[0].numel(), positions % sure[0].numel()
        middles = torch.stack([cells % sure.shape[2], cells // sure.shape[2]], 1) + 0.5
        far = edges[0].flatten(1)[:, cells].T
        boxes = torch.cat([middles - far[:, :2], middles + far[:, 2:]], 1) * STRIDE
        return Things(
            boxes.float().cpu().numpy(), classes.cpu().numpy(), scores.float().cpu().numpy()
        )

    def score(self, benchmark: str, sample: Sample, prediction: Things) -> Mapping[str, Any]:
        """Return what is there and what was found: boxes are ranked over all pictures."""
        if sample.things is None:
            raise ValueError("a benchmark's picture has no boxes")
        return {
            f"{whose}_{what}": getattr(things, what).ravel()
            for whose, things in (("truth", sample.things), ("found", prediction))
            for what in ("boxes_xyxy", "classes", "scores")
        }

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return the mean over classes that occur, and the AP of each class, in percent."""
        pictures = [(_things_of(row, "truth"), _things_of(row, "found")) for row in rows]
        values = {
            name: 100 * average_precision(pictures, class_idx)
            for class_idx, name in enumerate(self.settings.data.classes)
        }
        known = [value for value in values.values() if not np.isnan(value)]
        mean = float(np.mean(known)) if known else float("nan")
        return Metrics({"ap50": mean}, {name: {"ap50": value} for name, value in values.items()})

    def picture(self, sample: Sample, prediction: Things) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return photograph, truth and prediction."""
        shown = {"input": sample.photo, "prediction": self._drawn(sample.photo, prediction)}
        if sample.things is None:
            return shown
        return {**shown, "truth": self._drawn(sample.photo, sample.things)}

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List photographs of any format."""
        return list_inputs(paths)

    def load_input(self, item: Item) -> Sample:
        """Read one photograph; raises InputError for what is none."""
        photo = read_rgb(input_path(item), apply_orientation=True)
        size = self.settings.data.size_px
        return Sample(as_image(resize_rgb(photo, (size, size))), photo)

    def export(self, item: Item, sample: Sample, prediction: Things, format: str) -> Record:
        """Write the boxes at the photograph's size, as numbers or as a picture."""
        height, width = sample.photo.shape[:2]
        size = self.settings.data.size_px
        things = prediction.scaled(width / size, height / size)
        if format == "overlay":
            drawn = encode_png(self._drawn(sample.photo, things))
            return Record(item.key, {}, {f"overlay/{item.key}.png": drawn})
        found = [
            {"class": self.settings.data.classes[kind], "score": score, "box_xyxy": box}
            for kind, score, box in zip(
                things.classes.tolist(),
                things.scores.tolist(),
                things.boxes_xyxy.tolist(),
                strict=True,
            )
        ]
        return Record(item.key, {}, {f"json/{item.key}.json": json.dumps(found).encode()})

    def _drawn(self, photo: npt.NDArray[np.uint8], things: Things) -> npt.NDArray[np.uint8]:
        """Return the photograph with the frames of what is sure."""
        drawn, palette = photo.copy(), distinct_palette(len(self.settings.data.classes))
        last = [photo.shape[1] - 1, photo.shape[0] - 1] * 2
        edges = things.boxes_xyxy.round().astype(int).clip(0, last)
        for (left, top, right, bottom), kind, score in zip(
            edges, things.classes, things.scores, strict=True
        ):
            if score >= SHOWN_SCORE:
                drawn[[top, bottom], left : right + 1] = palette[kind]
                drawn[top : bottom + 1, [left, right]] = palette[kind]
        return drawn


def _things_of(row: Mapping[str, Any], whose: str) -> Things:
    return Things(
        np.asarray(row[f"{whose}_boxes_xyxy"], np.float32).reshape(-1, 4),
        np.asarray(row[f"{whose}_classes"], np.int64),
        np.asarray(row[f"{whose}_scores"], np.float32),
    )
