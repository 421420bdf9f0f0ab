"""Seamless Scene Segmentation as a task (Porzi et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from eagleray.task import (
    Batches,
    Benchmark,
    Dataset,
    Download,
    FittedWeights,
    ImportedCheckpoint,
    Importing,
    InputError,
    Item,
    LossTerm,
    Metrics,
    ParameterGroup,
    Phase,
    PublishedFiles,
    Record,
    Requirement,
    Rows,
    Settings,
    Stage,
    StepContext,
    Task,
)
from eagleray_seamseg.benchmarks import CEILING_SUFFIX, scoring_rule, seamless_benchmarks
from eagleray_seamseg.data import SeamlessPlacement, input_placement
from eagleray_seamseg.downloads import DOWNLOADS, download_hint
from eagleray_seamseg.exports import EXPORT_FORMATS, export_prediction
from eagleray_seamseg.fine_tuning import class_list, fit_to_classes
from eagleray_seamseg.intermediate.metadata import read_metadata
from eagleray_seamseg.losses import panoptic_losses
from eagleray_seamseg.model.network import SeamlessNetwork
from eagleray_seamseg.predict import fuse_truth, image_normalization, predict_panoptic
from eagleray_seamseg.published_import import import_original, import_weights
from eagleray_seamseg.settings import SeamlessSettings, paper_phase
from eagleray_seamseg.stages import label_source, label_stages, writing_stages
from eagleray_toyworld.label_stage import ToyworldFrameStage, toyworld_label_space
from eagleray_vision.datasets.label_stage import STAGE_NAME
from eagleray_vision.exports import check_export_format, export_index
from eagleray_vision.inference.prediction import PanopticPrediction
from eagleray_vision.inputs import list_inputs, load_input
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.picture import sample_pictures
from eagleray_vision.samples.dataset import PanopticDataset
from eagleray_vision.samples.placement import ImageNormalization
from eagleray_vision.samples.sample import PanopticBatch, PanopticSample
from eagleray_vision.scoring.image import score_ceiling, score_sample
from eagleray_vision.scoring.split import compute_metrics


class SeamlessTask(
    Task[SeamlessNetwork, PanopticSample, PanopticBatch, PanopticPrediction], Importing
):
    """Panoptic segmentation with one network: RPN, Mask R-CNN and semantic heads on one pyramid."""

    name: ClassVar[str] = "seamseg"
    summary: ClassVar[str] = (
        "Seamless Scene Segmentation: panoptic maps of street scenes and photographs."
    )
    settings_type: ClassVar[type[Settings]] = SeamlessSettings
    formats: ClassVar[Sequence[str]] = EXPORT_FORMATS
    settings: SeamlessSettings

    def requirements(self) -> Sequence[Requirement]:
        """Return the data set and the backbone's weights."""
        data, body = self.settings.data, self.settings.network.body
        needed = [
            Requirement(
                f"data set {data.format}",
                self._generates or Path(data.root).is_dir(),
                f"set data.root to the folder of the data set (now {data.root!r})",
            )
        ]
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
        return (*labels, *writing_stages(data, labels, self._label_space(), faithful=faithful))

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset:
        """Return the images of ``train`` or ``val``."""
        name = ToyworldFrameStage.name if self._generates else STAGE_NAME
        label = f"{name}:{source}"
        if label not in rows:
            raise InputError(f"there are no rows of {label!r}, only {sorted(rows)}: prepare first")
        return PanopticDataset(
            rows[label],
            Path(self.settings.data.root),
            SeamlessPlacement(self.settings.input, training=source == "train"),
            self._normalization(),
            training=source == "train",
        )

    def build(self) -> SeamlessNetwork:
        """Return the network."""
        space = self._label_space()
        return SeamlessNetwork(
            self.settings.network, num_stuff=space.num_stuff, num_thing=space.num_things
        )

    def load_pretrained(self, model: SeamlessNetwork) -> None:
        """Put the weights that ``network.body.weights`` names into the backbone."""
        model.load_pretrained()

    def phases(self) -> Sequence[Phase]:
        """Return the recipe of the preset."""
        return (paper_phase(self.settings.preset),)

    def fit_weights(self, model: SeamlessNetwork, weights: Mapping[str, Tensor]) -> FittedWeights:
        """Let the heads of other classes begin afresh, or keep their rows by class names."""
        source = self.settings.init_class_list
        return fit_to_classes(
            model,
            weights,
            self._label_space(),
            class_list(source) if source else None,
        )

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

    def losses(
        self, model: SeamlessNetwork, batch: PanopticBatch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        """Return the six losses; anchors and RoIs are drawn per sample."""
        generators = [step.generator(index, "rois") for index in range(len(batch.targets))]
        return panoptic_losses(
            model,
            batch.images,
            batch.valid_sizes,
            batch.targets,
            generators=generators,
        )

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the validation split and its fusion ceiling."""
        return seamless_benchmarks(self.settings)

    def predict(
        self, model: SeamlessNetwork, samples: Sequence[PanopticSample]
    ) -> Sequence[PanopticPrediction]:
        """Return fused maps."""
        return predict_panoptic(model, samples, self.settings)

    def score(
        self, benchmark: str, sample: PanopticSample, prediction: PanopticPrediction
    ) -> Mapping[str, Any]:
        """Return the statistics of one image."""
        space = self._label_space()
        rule = scoring_rule(self.settings)
        if benchmark.endswith(CEILING_SUFFIX):
            fuse = partial(fuse_truth, settings=self.settings, num_stuff=space.num_stuff)
            return score_ceiling(sample, rule, space, fuse)
        return score_sample(sample, prediction, rule, space)

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return panoptic quality, mean IoU and, where it is scored, AP."""
        return compute_metrics(rows, scoring_rule(self.settings), self._label_space())

    def picture(
        self, sample: PanopticSample, prediction: PanopticPrediction
    ) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return photograph, truth and prediction."""
        return sample_pictures(
            sample.photo,
            sample.truth,
            prediction.fused,
            self._label_space(),
            faithful=self.settings.faithful,
        )

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List image files."""
        return list_inputs(paths)

    def load_input(self, item: Item) -> PanopticSample:
        """Read one image file."""
        settings, faithful = self.settings.input, self.settings.faithful
        return load_input(
            item,
            lambda size_hw: input_placement(size_hw, settings, faithful=faithful),
            self._normalization(),
            max_network_px=settings.max_network_px,
            hint="set faithful to false, so that input.longest_max_px holds, or raise "
            "input.max_network_px",
        )

    def check_format(self, format: str) -> None:
        """Refuse Cityscapes instance ids for class lists that do not fit into them."""
        check_export_format(format, self._label_space())

    def export(
        self, item: Item, sample: PanopticSample, prediction: PanopticPrediction, format: str
    ) -> Record:
        """Write one prediction."""
        return export_prediction(
            item, sample, prediction, format, self._label_space(), faithful=self.settings.faithful
        )

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Write the JSON of ``coco_panoptic``."""
        return export_index(format, rows, self._label_space())

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read the weights of a snapshot or published archive of the original, for this network."""
        space = self._label_space()
        return import_weights(
            path, self.settings.network, num_stuff=space.num_stuff, num_thing=space.num_things
        )

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read a configuration, snapshot or published archive of the original."""
        return import_original(path, folder, self.settings.network)

    @property
    def _generates(self) -> bool:
        return self.settings.data.format == "toyworld"

    def _label_space(self) -> LabelSpace:
        if not hasattr(self, "_space"):
            data, faithful = self.settings.data, self.settings.faithful
            if data.metadata:
                self._space = read_metadata(Path(data.metadata)).space
            elif self._generates:
                self._space = toyworld_label_space(data.toyworld)
            else:
                self._space = label_source(data, faithful=faithful).label_space()
        return self._space

    def _normalization(self) -> ImageNormalization:
        return image_normalization(self.settings)
