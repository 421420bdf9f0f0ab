"""Batches and samples on their way to the device; the model's own device for those of predict."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from tests.sixth_task import SIDE_PX, SquareSettings, SquareTask

from eagleray.devices import to_device
from eagleray.evaluate.stage import EvaluationSettings, EvaluationStage
from eagleray.predict.output_folder import OutputFolder
from eagleray.predict.stage import PredictSettings, PredictStage
from eagleray.storage import SharedFile, Store
from eagleray.task import Dataset, Item
from eagleray.train.validation import validate


@dataclasses.dataclass(frozen=True)
class Boxes:
    boxes_yxyx: torch.Tensor
    names: tuple[str, ...]


class Pair(NamedTuple):
    left: torch.Tensor
    right: Any


def test_nested_batch_moves_and_keeps_its_types() -> None:
    batch = {
        "image": torch.rand(2, 3, 4, 5),
        "boxes": [Boxes(torch.zeros(0, 4), ("a",))],
        "pair": Pair(torch.ones(1), None),
        "tuple": (torch.ones(1), 3),
    }
    moved = to_device(batch, torch.device("meta"), channels_last=True)
    assert moved["image"].device.type == "meta"
    assert moved["image"].is_contiguous(memory_format=torch.channels_last)
    assert isinstance(moved["boxes"][0], Boxes)
    assert moved["boxes"][0].boxes_yxyx.shape == (0, 4)
    assert moved["boxes"][0].boxes_yxyx.device.type == "meta"
    assert moved["boxes"][0].names == ("a",)
    assert isinstance(moved["pair"], Pair)
    assert moved["pair"].right is None
    assert moved["tuple"][1] == 3


def test_what_lies_on_the_device_stays_the_same_object() -> None:
    batch = {"boxes": [Boxes(torch.zeros(0, 4), ("a",))], "pair": Pair(torch.ones(1), np.ones(2))}
    assert to_device(batch, torch.device("cpu")) is batch


class Recorder(SquareTask):
    """Notes where the samples lie that it is given."""

    def __init__(self, settings: SquareSettings) -> None:
        super().__init__(settings)
        self.seen: list[str] = []

    def dataset(self, source: str, rows: Any) -> Any:
        return OneSquare()

    def predict(self, model: Any, samples: Any) -> Any:
        self.seen += [square.device.type for square, _ in samples]
        return [0 for _ in samples]


class OneSquare(Dataset):
    """One black square."""

    def __len__(self) -> int:
        return 1

    def key(self, index: int) -> str:
        return "black"

    def load(self, index: int, rng: np.random.Generator) -> Any:
        return torch.zeros(1, SIDE_PX, SIDE_PX), 0

    def collate(self, samples: Any) -> Any:
        return samples


def test_predict_is_given_samples_on_the_models_device(tmp_path) -> None:
    task = Recorder(SquareSettings())
    path = tmp_path / "model.safetensors"
    save_file(task.build().state_dict(), path)
    weights = SharedFile.of(path)
    benchmark, item = task.benchmarks()[0], Item("black", "", {"index": 0, "picture": False})
    units = EvaluationSettings(
        task="squares", settings={}, benchmark="val", prepared={}, units=None, pictures=0
    )
    files = PredictSettings(task="squares", settings={}, formats=("json",))
    output = OutputFolder(Store(str(tmp_path / "out")))
    stages = [
        EvaluationStage(task, benchmark, weights, units, {}, batch_size=1, gpus=0),
        PredictStage(task, weights, files, [], output, batch_size=1, gpus=0),
    ]
    sample = OneSquare().load(0, np.random.default_rng(0))
    for stage in stages:
        stage.setup("meta", {}, {})
        stage.process([(item, sample)])
    validate(task, task.build().to("meta"), benchmark, OneSquare(), units=None, batch_size=1)
    assert task.seen == ["meta"] * 3
