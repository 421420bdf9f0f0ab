"""Seamless Scene Segmentation as a task (Porzi et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from eagleray.task import (
    Batches,
    Benchmark,
    Dataset,
    Download,
    ImportedCheckpoint,
    Item,
    LossTerm,
    ParameterGroup,
    Phase,
    PublishedFiles,
    Record,
    Requirement,
    Rows,
    Settings,
    Stage,
)
from eagleray_seamseg.benchmarks import scoring_rule, seamless_benchmarks
from eagleray_seamseg.data import SeamlessPlacement, input_placement
from eagleray_seamseg.downloads import DOWNLOADS, download_hint
from eagleray_seamseg.exports import EXPORT_FORMATS, export_prediction
from eagleray_seamseg.fine_tuning import CLASS_HEADS, class_list
from eagleray_seamseg.intermediate.metadata import read_metadata
from eagleray_seamseg.losses import panoptic_losses
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.predict import fuse_truth, image_normalization, predict_panoptic
from eagleray_seamseg.published_import import import_original, import_weights
from eagleray_seamseg.settings import SeamlessSettings, paper_phase
from eagleray_seamseg.stages import label_source, label_stages, writing_stages
from eagleray_toyworld.label_stage import toyworld_label_space
from eagleray_vision.inference.network import Size
from eagleray_vision.inference.prediction import PanopticInference, PanopticPrediction
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.panoptic_task import GENERATED, PanopticTask
from eagleray_vision.samples.dataset import PanopticDataset
from eagleray_vision.samples.placement import ImageNormalization, Placement
from eagleray_vision.samples.sample import PanopticBatch, PanopticSample
from eagleray_vision.scoring.rule import ScoringRule
from eagleray_vision.weights.class_rows import ClassHeads


class SeamlessTask(PanopticTask[SeamlessNetwork]):
    """Panoptic segmentation with one network: RPN, Mask R-CNN and semantic heads on one pyramid."""

    name: ClassVar[str] = "seamseg"
    summary: ClassVar[str] = (
        "Seamless Scene Segmentation: panoptic maps of street scenes and photographs."
    )
    settings_type: ClassVar[type[Settings]] = SeamlessSettings
    formats: ClassVar[Sequence[str]] = EXPORT_FORMATS
    settings: SeamlessSettings
    class_heads: ClassVar[ClassHeads] = CLASS_HEADS
    input_hint = (
        "set faithful to false, so that input.longest_max_px holds, or raise input.max_network_px"
    )

    def requirements(self) -> Sequence[Requirement]:
        """Return the data set and the backbone's weights."""
        body, needed = self.settings.network.body, [self.data_requirement()]
        if body.weights is not None or body.num_frozen > 0:
            there = body.weights is not None and Path(body.weights).is_file()
            hint = (
                f"set network.body.weights to a file of pretrained {body.backbone} weights "
                f"(now {body.weights!r}{download_hint(body.backbone)}); without one "
                "network.body.num_frozen must be 0"
            )
            needed.append(
                Requirement(
                    "backbone weights",
                    there,
                    hint,
                    training_only=True,
                    replaced_by_init=body.weights is None,
                )
            )
        return needed

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return the published network and the backbones that it starts from."""
        return DOWNLOADS

    def stages(self) -> Sequence[Stage]:
        """Return the label conversion of the training and the validation split, and where it is
        asked for the writing of both in the original's format.
        """
        data, faithful = self.settings.data, self.settings.faithful
        labels = label_stages(data, faithful=faithful)
        if not data.convert.folder:
            return labels
        return (*labels, *writing_stages(data, labels, self.label_space(), faithful=faithful))

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset:
        """Return the images of ``train`` or ``val``."""
        training = source == "train"
        return PanopticDataset(
            self.label_rows(source, rows),
            Path(self.settings.data.root),
            SeamlessPlacement(self.settings.input, training=training),
            self.normalization(),
            training=training,
        )

    def build(self) -> SeamlessNetwork:
        """Return the network."""
        space = self.label_space()
        return SeamlessNetwork(
            self.settings.network, num_stuff=space.num_stuff, num_thing=space.num_things
        )

    def phases(self) -> Sequence[Phase]:
        """Return the recipe of the preset."""
        return (paper_phase(self.settings.preset),)

    def read_class_list(self, source: str) -> LabelSpace:
        """Read the class list that ``init_class_list`` names, a ``metadata.bin`` included."""
        return class_list(source)

    def on_phase_start(self, model: SeamlessNetwork, phase: Phase, data: Dataset | Batches) -> None:
        """Refuse to train while frozen backbone modules are random."""
        model.check_frozen_modules()

    def parameter_groups(self, model: SeamlessNetwork, phase: Phase) -> Sequence[ParameterGroup]:
        """Return normalization and other parameters; only the latter decay, and ``bn_frozen``
        drops the former.
        """
        norm_names = model.norm_parameter_names()
        trained = [name for name, value in model.named_parameters() if value.requires_grad]
        norm = [name for name in trained if name in norm_names]
        other = ParameterGroup([name for name in trained if name not in norm_names])
        if self.settings.network.body.bn_frozen:
            return (other,)
        decay = 1.0 if self.settings.norm_weight_decay else 0.0
        return (ParameterGroup(norm, weight_decay_factor=decay), other)

    def panoptic_losses(
        self,
        model: SeamlessNetwork,
        batch: PanopticBatch,
        generators: Sequence[torch.Generator],
    ) -> Mapping[str, LossTerm]:
        """Return the six losses."""
        return panoptic_losses(
            model, batch.images, batch.valid_sizes, batch.targets, generators=generators
        )

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the validation split and its fusion ceiling."""
        return seamless_benchmarks(self.settings)

    def predict(
        self, model: SeamlessNetwork, samples: Sequence[PanopticSample]
    ) -> Sequence[PanopticPrediction]:
        """Return fused maps."""
        return predict_panoptic(model, samples, self.settings)

    def scoring_rule(self) -> ScoringRule:
        """Return the original's rule, or the official one."""
        return scoring_rule(self.settings)

    def fuse_truth(self, truth: PanopticInference, network_hw: Size) -> IndexedPanoptic:
        """Fuse labels that are written as the network's output."""
        return fuse_truth(truth, network_hw, self.settings, self.label_space().num_stuff)

    @property
    def draws_as_original(self) -> bool:
        """Whether pictures keep the original's defects."""
        return self.settings.faithful

    def input_placement(self, size_hw: Size) -> Placement:
        """Return how a user's own photograph enters the network."""
        return input_placement(size_hw, self.settings.input, faithful=self.settings.faithful)

    def export(
        self, item: Item, sample: PanopticSample, prediction: PanopticPrediction, format: str
    ) -> Record:
        """Write one prediction."""
        return export_prediction(
            item, sample, prediction, format, self.label_space(), faithful=self.settings.faithful
        )

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read the weights of a snapshot or published archive of the original, for this network."""
        return import_weights(path, self.settings.network, self.label_space())

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read a configuration, snapshot or published archive of the original."""
        return import_original(path, folder, self.settings.network)

    def open_label_space(self) -> LabelSpace:
        """Read the class list of the data set, or of the original's ``metadata.bin``."""
        data, faithful = self.settings.data, self.settings.faithful
        if data.metadata:
            return read_metadata(Path(data.metadata)).space
        if data.format == GENERATED:
            return toyworld_label_space(data.toyworld)
        return label_source(data, faithful=faithful).label_space()

    def normalization(self) -> ImageNormalization:
        """Return the colors of the backbone, or those of the settings."""
        return image_normalization(self.settings)
