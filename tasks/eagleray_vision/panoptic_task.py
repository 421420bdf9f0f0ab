"""What every panoptic system with one network is as a task; a system adds its settings, network,
losses, fusion and formats.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import TypeVar

from eagleray.task import (
    Diagnostic,
    FittedWeights,
    Importing,
    InputError,
    Item,
    LabelLayers,
    LossTerm,
    Metrics,
    Requirement,
    Rows,
    StepContext,
    Task,
)
from eagleray_vision.datasets.class_list import read_class_list
from eagleray_vision.exports import check_export_format, export_index
from eagleray_vision.inference.network import PanopticModule, Size
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.inputs import list_inputs, load_input
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.panoptic.picture import sample_pictures
from eagleray_vision.panoptic_settings import PanopticSettings
from eagleray_vision.samples.placement import ImageNormalization, Placement
from eagleray_vision.samples.sample import PanopticBatch, PanopticSample
from eagleray_vision.scoring.benchmarks import CEILING_SUFFIX
from eagleray_vision.scoring.diagnostics import panoptic_diagnostics, panoptic_layers
from eagleray_vision.scoring.image import score_ceiling, score_sample
from eagleray_vision.scoring.rule import ScoringRule
from eagleray_vision.scoring.split import compute_metrics
from eagleray_vision.weights.class_rows import ClassHeads, fit_network

GENERATED = "toyworld"
"""The format whose frames are generated, so that no folder is needed."""


NetworkT = TypeVar("NetworkT", bound=PanopticModule, default=Any)


class PanopticTask(
    Task[NetworkT, PanopticSample, PanopticBatch, PanopticPrediction], Importing, Generic[NetworkT]
):
    """Panoptic segmentation of images with one network.

    A system says which stages give the labels, how images enter its network, how it is trained, how
    its output is fused, and by which rule it is scored.
    """

    settings: PanopticSettings
    input_hint: str
    """What to do where a photograph would need too large a network input."""
    class_heads: ClassVar[ClassHeads]
    """The network's layers with rows per class."""

    @abstractmethod
    def open_label_space(self) -> LabelSpace:
        """Read the class list of the data set."""

    @abstractmethod
    def normalization(self) -> ImageNormalization:
        """Return the colors that the network expects."""

    @abstractmethod
    def input_placement(self, size_hw: Size) -> Placement:
        """Return how a user's own photograph of a size enters the network."""

    @abstractmethod
    def panoptic_losses(
        self, model: NetworkT, batch: PanopticBatch, generators: Sequence[torch.Generator]
    ) -> Mapping[str, LossTerm]:
        """Return the losses of a batch; each sample draws with a generator of its own."""

    @abstractmethod
    def scoring_rule(self) -> ScoringRule:
        """Return the rule by which predictions are scored."""

    @abstractmethod
    def fuse_truth(self, truth: PanopticInference, network_hw: Size) -> IndexedPanoptic:
        """Fuse labels that are written as the network's output, at their own size."""

    @property
    def draws_as_original(self) -> bool:
        """Whether pictures are drawn as Seamless' original does."""
        return False

    def common_names(self, source: LabelSpace, space: LabelSpace) -> LabelSpace:
        """Give classes of weights the names that the network's class list has for them."""
        return source

    def read_class_list(self, source: str) -> LabelSpace:
        """Read the class list that ``init_class_list`` names."""
        return read_class_list(source)

    def data_requirement(self) -> Requirement:
        """Return the folder of the data set."""
        data = self.settings.data
        return Requirement(
            f"data set {data.format}",
            data.format == GENERATED or Path(data.root).is_dir(),
            f"set data.root to the folder of the data set (now {data.root!r})",
        )

    def label_rows(self, source: str, rows: Mapping[str, Rows]) -> Rows:
        """Return the rows of the labels of ``train`` or ``val``, whose stage comes first.

        Raises:
            InputError: They are not prepared.
        """
        label = next((s.label for s in self.stages() if s.source == source), source)
        if label not in rows:
            raise InputError(f"there are no rows of {label!r}, only {sorted(rows)}: prepare first")
        return rows[label]

    def label_space(self) -> LabelSpace:
        """Return the class list of the data set, which is read once."""
        if not hasattr(self, "_space"):
            self._space = self.open_label_space()
        return self._space

    def load_pretrained(self, model: NetworkT) -> None:
        """Put the weights that the settings name into the backbone."""
        model.load_pretrained()

    def fit_weights(self, model: NetworkT, weights: Mapping[str, Tensor]) -> FittedWeights:
        """Let the heads of other classes begin afresh, or keep their rows by class names."""
        space, given = self.label_space(), self.settings.init_class_list
        named = self.common_names(self.read_class_list(given), space) if given else None
        return fit_network(model, weights, self.class_heads, space, named)

    def losses(
        self, model: NetworkT, batch: PanopticBatch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        """Return the six losses; anchors and RoIs are drawn per sample."""
        generators = [step.generator(index, "rois") for index in range(len(batch.targets))]
        return self.panoptic_losses(model, batch, generators)

    def score(
        self, benchmark: str, sample: PanopticSample, prediction: PanopticPrediction
    ) -> Mapping[str, Any]:
        """Return the statistics of one image."""
        space, rule = self.label_space(), self.scoring_rule()
        if benchmark.endswith(CEILING_SUFFIX):
            return score_ceiling(sample, rule, space, self.fuse_truth)
        return score_sample(sample, prediction, rule, space)

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return panoptic quality, mean IoU and, where it is scored, AP."""
        return compute_metrics(rows, self.scoring_rule(), self.label_space())

    def diagnostics(
        self, benchmark: str, rows: Iterable[Mapping[str, Any]]
    ) -> Sequence[Diagnostic]:
        """Return confusion, kinds of mistakes, precision over recall."""
        return panoptic_diagnostics(rows, self.label_space())

    def picture(
        self, sample: PanopticSample, prediction: PanopticPrediction
    ) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return photograph, truth and prediction."""
        return sample_pictures(
            sample.photo,
            sample.truth,
            prediction.fused,
            self.label_space(),
            faithful=self.draws_as_original,
        )

    def layers(self, sample: PanopticSample, prediction: PanopticPrediction) -> LabelLayers | None:
        """Return the segments of truth and prediction."""
        maps = {"truth": sample.truth, "prediction": prediction.fused}
        return panoptic_layers(sample.photo, maps, self.label_space())

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List image files."""
        return list_inputs(paths)

    def load_input(self, item: Item) -> PanopticSample:
        """Read one image file."""
        return load_input(
            item,
            self.input_placement,
            self.normalization(),
            max_network_px=self.settings.input.max_network_px,
            hint=self.input_hint,
        )

    def check_format(self, format: str) -> None:
        """Refuse Cityscapes' formats for class lists that do not fit into them."""
        check_export_format(format, self.label_space())

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Write the JSON of the formats that have one."""
        return export_index(format, rows, self.label_space())
