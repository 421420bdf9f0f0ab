"""EfficientPS as a task (Mohan & Valada, IJCV 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from eagleray.task import (
    Batches,
    Benchmark,
    Dataset,
    Download,
    ImportedCheckpoint,
    Item,
    LossTerm,
    Metrics,
    Phase,
    PublishedFiles,
    Record,
    Requirement,
    Rows,
    Settings,
    Stage,
)
from eagleray_efficientps.benchmarks import (
    cityscapes_ap_row,
    compute_split,
    efficientps_benchmarks,
    fuse_truth,
    scoring_rule,
)
from eagleray_efficientps.data import EvaluationPlacement, TrainingDataset, TrainingPlacement
from eagleray_efficientps.downloads import DOWNLOADS, download_hint
from eagleray_efficientps.exports import EXPORT_FORMATS, export_prediction
from eagleray_efficientps.fine_tuning import CLASS_HEADS, common_names
from eagleray_efficientps.losses import panoptic_losses
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.predict import image_normalization, network_settings, predict_panoptic
from eagleray_efficientps.published_import import import_original, import_weights
from eagleray_efficientps.recipes import FROZEN_PHASE, phases
from eagleray_efficientps.settings import PAD_MULTIPLE, EfficientPsSettings
from eagleray_efficientps.stages import label_space, label_stages
from eagleray_vision.inference.network import Size
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.panoptic_task import PanopticTask
from eagleray_vision.samples.dataset import PanopticDataset
from eagleray_vision.samples.placement import ImageNormalization, Placement
from eagleray_vision.samples.sample import PanopticBatch, PanopticSample
from eagleray_vision.scoring.benchmarks import CEILING_SUFFIX
from eagleray_vision.scoring.rule import ScoringRule
from eagleray_vision.weights.class_rows import ClassHeads


class EfficientPSTask(PanopticTask[EfficientPsNetwork]):
    """Panoptic segmentation with one network: instance and semantic heads on a two-way pyramid."""

    name: ClassVar[str] = "efficientps"
    summary: ClassVar[str] = "EfficientPS: panoptic maps of street scenes with an EfficientNet."
    settings_type: ClassVar[type[Settings]] = EfficientPsSettings
    formats: ClassVar[Sequence[str]] = EXPORT_FORMATS
    settings: EfficientPsSettings
    class_heads: ClassVar[ClassHeads] = CLASS_HEADS
    input_hint = "raise input.max_network_px or lower input.size_hw"

    def requirements(self) -> Sequence[Requirement]:
        """Return the data set and the backbone's weights."""
        backbone, found = self.settings.network.backbone, [self.data_requirement()]
        if backbone.weights is not None:
            hint = (
                f"set network.backbone.weights to a file of pretrained {backbone.name} weights "
                f"(now {backbone.weights!r}{download_hint(backbone.name)}), or to null to begin at "
                "random"
            )
            there = Path(backbone.weights).is_file()
            found.append(Requirement("backbone weights", there, hint, training_only=True))
        return found

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return the published networks and the backbone that they start from."""
        return DOWNLOADS

    def stages(self) -> Sequence[Stage]:
        """Return the label conversion of both splits, and the writing of the original's layout."""
        return label_stages(self.settings.data)

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset:
        """Return the images of ``train`` or ``val``."""
        settings = self.settings
        labels = self.label_rows(source, rows)
        root, normalization = Path(settings.data.root), self.normalization()
        if source != "train":
            place = EvaluationPlacement(settings.input)
            return PanopticDataset(labels, root, place, normalization, training=False)
        return TrainingDataset(
            labels,
            root,
            TrainingPlacement(settings.input),
            normalization,
            pad_multiple=PAD_MULTIPLE,
            num_stuff=self.label_space().num_stuff,
            things_only=settings.faithful,
        )

    def build(self) -> EfficientPsNetwork:
        """Return the network."""
        space = self.label_space()
        return EfficientPsNetwork(
            network_settings(self.settings),
            num_stuff=space.num_stuff,
            num_thing=space.num_things,
        )

    def phases(self) -> Sequence[Phase]:
        """Return the phases of the recipe."""
        return phases(self.settings)

    def common_names(self, source: LabelSpace, space: LabelSpace) -> LabelSpace:
        """Give classes of Vistas Cityscapes' names."""
        return common_names(source, space)

    def on_phase_start(
        self, model: EfficientPsNetwork, phase: Phase, data: Dataset | Batches
    ) -> None:
        """Freeze the statistics of the normalization in the paper's last phase."""
        model.freeze_statistics(phase.name == FROZEN_PHASE)

    def panoptic_losses(
        self,
        model: EfficientPsNetwork,
        batch: PanopticBatch,
        generators: Sequence[torch.Generator],
    ) -> Mapping[str, LossTerm]:
        """Return the six losses."""
        return panoptic_losses(
            model,
            batch.images,
            batch.valid_sizes,
            batch.targets,
            generators=generators,
            faithful=self.settings.faithful,
        )

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the validation split and its fusion ceiling."""
        return efficientps_benchmarks(self.settings)

    def predict(
        self, model: EfficientPsNetwork, samples: Sequence[PanopticSample]
    ) -> Sequence[PanopticPrediction]:
        """Return fused maps."""
        return predict_panoptic(model, samples, self.settings)

    def scoring_rule(self) -> ScoringRule:
        """Return the official rule, at the network's size where the settings are faithful."""
        return scoring_rule(self.settings)

    def fuse_truth(self, truth: PanopticInference, network_hw: Size) -> IndexedPanoptic:
        """Fuse labels that are written as the network's output."""
        return fuse_truth(truth, self.settings, self.label_space())

    def score(
        self, benchmark: str, sample: PanopticSample, prediction: PanopticPrediction
    ) -> Mapping[str, Any]:
        """Return the statistics of one image, with those of Cityscapes AP where it is scored."""
        row = super().score(benchmark, sample, prediction)
        if not self.settings.evaluation.cityscapes_ap or benchmark.endswith(CEILING_SUFFIX):
            return row
        return {**row, **cityscapes_ap_row(sample, prediction, self.label_space())}

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return panoptic quality, mean IoU and, where they are scored, both kinds of AP."""
        return compute_split(rows, self.settings, self.label_space())

    def input_placement(self, size_hw: Size) -> Placement:
        """Return how a user's own photograph enters the network."""
        return EvaluationPlacement(self.settings.input)(size_hw)

    def export(
        self, item: Item, sample: PanopticSample, prediction: PanopticPrediction, format: str
    ) -> Record:
        """Write one prediction."""
        return export_prediction(
            item, sample, prediction, format, self.label_space(), self.settings
        )

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read weights of a checkpoint or published archive of the original, for this network."""
        return import_weights(path, self.settings.network, self.label_space())

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read a checkpoint or published archive of the original."""
        return import_original(path)

    def open_label_space(self) -> LabelSpace:
        """Read the class list of the data set."""
        return label_space(self.settings.data)

    def normalization(self) -> ImageNormalization:
        """Return the colors of the settings."""
        return image_normalization(self.settings)
