"""What a plugin offers, from settings to prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from eagleray.contract.data import Batches, Dataset
from eagleray.contract.evaluation import Benchmark, Metrics
from eagleray.contract.importing import FittedWeights, ImportedCheckpoint, PublishedFiles
from eagleray.contract.prepare import Item, Record, Rows, Stage
from eagleray.contract.requirements import Download, Requirement
from eagleray.contract.settings import Settings
from eagleray.contract.training import LossTerm, ParameterGroup, Phase, StepContext
from eagleray.contract.viewing import Tool


class Task(ABC):
    """What a plugin offers. Picklable; holds settings only."""

    name: ClassVar[str]
    summary: ClassVar[str]
    settings_type: ClassVar[type[Settings]]

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def requirements(self) -> Sequence[Requirement]:
        """Return the files this task needs with these settings."""
        return ()

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return the published files that this task can use."""
        return ()

    def stages(self) -> Sequence[Stage]:
        """Return the preprocessing steps in an order in which upstream comes first."""
        return ()

    @abstractmethod
    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset | Batches:
        """Return the data called ``source``: ``"train"``, or the source of a benchmark.

        Args:
            source: Which data.
            rows: The rows of all prepared stages, by label.
        """

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the model on the CPU in float32, with its pretrained weights loaded where the
        settings name some.
        """

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """Return the paper's training phases; an experiment may override their fields."""

    def parameter_groups(self, model: nn.Module, phase: Phase) -> Sequence[ParameterGroup]:
        """Return what is trained in the phase; by default all that requires a gradient."""
        return (ParameterGroup([n for n, p in model.named_parameters() if p.requires_grad]),)

    def on_phase_start(self, model: nn.Module, phase: Phase, data: Dataset | Batches) -> None:
        """Get ready for a phase (change buffers), alike on all ranks."""

    def before_step(self, model: nn.Module, step: StepContext) -> None:
        """Change buffers before a step (an occupancy grid), alike on all ranks."""

    @abstractmethod
    def losses(self, model: nn.Module, batch: Any, step: StepContext) -> Mapping[str, LossTerm]:
        """Return the named losses of a micro-batch. The same modules run in the same order on
        every rank.
        """

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the benchmarks that these settings can be evaluated on; the first one is the
        default.
        """
        return ()

    def predict(self, model: nn.Module, samples: Sequence[Any]) -> Sequence[Any]:
        """Return one prediction per sample (of a benchmark's dataset or of ``inputs``), on the
        model's device.
        """
        raise NotImplementedError(f"task {self.name!r} has no prediction")

    def score(self, benchmark: str, sample: Any, prediction: Any) -> Mapping[str, Any]:
        """Return the row (``Benchmark.schema``) that one unit adds to the metric."""
        raise NotImplementedError(f"task {self.name!r} has no benchmark {benchmark!r}")

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return the metrics over the rows of all units, which come in unit order."""
        raise NotImplementedError(f"task {self.name!r} has no benchmark {benchmark!r}")

    def picture(self, sample: Any, prediction: Any) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return named RGB pictures, uint8 (H, W, 3), of one size: ``input``, ``truth``,
        ``prediction``.
        """
        return {}

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List a user's own files (folders are searched recursively); keys are relative paths
        without suffix.
        """
        raise NotImplementedError(f"task {self.name!r} cannot read a user's own files")

    def load_input(self, item: Item) -> Any:
        """Read one of the user's files as a sample for ``predict``; raises InputError."""
        raise NotImplementedError(f"task {self.name!r} cannot read a user's own files")

    formats: ClassVar[Sequence[str]] = ()
    """What ``export`` can write; the first one is the default."""

    def check_format(self, format: str) -> None:
        """Raise SettingsError for one of ``formats`` that these settings cannot give."""

    def export(self, item: Item, sample: Any, prediction: Any, format: str) -> Record:
        """Return the files of one prediction in a format, and a row for ``export_index`` (JSON
        values). Called from several threads.
        """
        raise NotImplementedError(f"task {self.name!r} has no export {format!r}")

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Return the files that a format has once for all predictions (the JSON of COCO
        panoptic).
        """
        return {}

    def tools(self) -> Sequence[Tool]:
        """Return interactive functions."""
        return ()

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read published weights in the original's format; every key is accounted for."""
        raise NotImplementedError(f"task {self.name!r} has no checkpoint import")

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read any file that the original publishes or reads, whatever these settings say: weights,
        a configuration, an archive of both. By default weights.

        Args:
            path: The file.
            folder: Where the weights, the experiment and its files will lie.
        """
        return PublishedFiles(self.import_checkpoint(path))

    def fit_weights(self, model: nn.Module, weights: Mapping[str, Tensor]) -> FittedWeights:
        """Make the weights of ``train.init_from`` fit the model: what depends on other classes
        keeps its initial values; raises SettingsError for what cannot fit. By default nothing is
        changed, and tensors of other shapes are left out.
        """
        return FittedWeights(weights)
