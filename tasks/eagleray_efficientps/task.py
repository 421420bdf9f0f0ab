"""EfficientPS as a task (Mohan & Valada, IJCV 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from eagleray_efficientps.benchmarks import (
    CEILING_SUFFIX,
    compute_split,
    efficientps_benchmarks,
    score_ceiling_of,
    score_prediction,
)
from eagleray_efficientps.data import EvaluationPlacement, TrainingDataset, TrainingPlacement
from eagleray_efficientps.downloads import DOWNLOADS, download_hint
from eagleray_efficientps.exports import EXPORT_FORMATS, export_prediction
from eagleray_efficientps.fine_tuning import fit_to_classes
from eagleray_efficientps.losses import panoptic_losses
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_efficientps.predict import image_normalization, network_settings, predict_panoptic
from eagleray_efficientps.published_import import import_original, import_weights
from eagleray_efficientps.recipes import FROZEN_PHASE, phases
from eagleray_efficientps.settings import PAD_MULTIPLE, EfficientPsSettings
from eagleray_efficientps.stages import label_space, label_stages
from eagleray_vision.datasets.class_list import read_class_list
from eagleray_vision.exports import check_export_format, export_index
from eagleray_vision.inference.prediction import PanopticPrediction
from eagleray_vision.inputs import list_inputs, load_input
from eagleray_vision.panoptic.label_space import LabelSpace
from eagleray_vision.panoptic.picture import sample_pictures
from eagleray_vision.samples.dataset import PanopticDataset
from eagleray_vision.samples.sample import PanopticBatch, PanopticSample


class EfficientPSTask(
    Task[EfficientPsNetwork, PanopticSample, PanopticBatch, PanopticPrediction], Importing
):
    """Panoptic segmentation with one network: instance and semantic heads on a two-way pyramid."""

    name: ClassVar[str] = "efficientps"
    summary: ClassVar[str] = "EfficientPS: panoptic maps of street scenes with an EfficientNet."
    settings_type: ClassVar[type[Settings]] = EfficientPsSettings
    formats: ClassVar[Sequence[str]] = EXPORT_FORMATS
    settings: EfficientPsSettings

    def requirements(self) -> Sequence[Requirement]:
        """Return the data set and the backbone's weights."""
        data, backbone = self.settings.data, self.settings.network.backbone
        found = [
            Requirement(
                f"data set {data.format}",
                data.format == "toyworld" or Path(data.root).is_dir(),
                f"set data.root to the folder of the data set (now {data.root!r})",
            )
        ]
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
        """Return the label conversion of the training and the validation split."""
        return label_stages(self.settings.data)

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset:
        """Return the images of ``train`` or ``val``."""
        settings = self.settings
        labels = [stage.label for stage in self.stages() if stage.source == source]
        if not labels or labels[0] not in rows:
            raise InputError(f"there are no rows of {source!r}, only {sorted(rows)}: prepare first")
        root, normalization = Path(settings.data.root), image_normalization(settings)
        if source != "train":
            place = EvaluationPlacement(settings.input)
            return PanopticDataset(rows[labels[0]], root, place, normalization, training=False)
        return TrainingDataset(
            rows[labels[0]],
            root,
            TrainingPlacement(settings.input),
            normalization,
            pad_multiple=PAD_MULTIPLE,
            num_stuff=self._label_space().num_stuff,
            things_only=settings.faithful,
        )

    def build(self) -> EfficientPsNetwork:
        """Return the network."""
        space = self._label_space()
        return EfficientPsNetwork(
            network_settings(self.settings),
            num_stuff=space.num_stuff,
            num_thing=space.num_things,
        )

    def load_pretrained(self, model: EfficientPsNetwork) -> None:
        """Put the weights that ``network.backbone.weights`` names into the backbone."""
        model.load_pretrained()

    def phases(self) -> Sequence[Phase]:
        """Return the phases of the recipe."""
        return phases(self.settings)

    def fit_weights(
        self, model: EfficientPsNetwork, weights: Mapping[str, Tensor]
    ) -> FittedWeights:
        """Let the heads of other classes begin afresh, or keep their rows by class names."""
        given = self.settings.init_class_list
        source = read_class_list(given) if given else None
        return fit_to_classes(model, weights, self._label_space(), source)

    def on_phase_start(
        self, model: EfficientPsNetwork, phase: Phase, data: Dataset | Batches
    ) -> None:
        """Freeze the statistics of the normalization in the paper's last phase."""
        model.freeze_statistics(phase.name == FROZEN_PHASE)

    def losses(
        self, model: EfficientPsNetwork, batch: PanopticBatch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        """Return the six losses; anchors and RoIs are drawn per sample."""
        generators = [step.generator(index, "rois") for index in range(len(batch.targets))]
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

    def score(
        self, benchmark: str, sample: PanopticSample, prediction: PanopticPrediction
    ) -> Mapping[str, Any]:
        """Return the statistics of one image."""
        space = self._label_space()
        if benchmark.endswith(CEILING_SUFFIX):
            return score_ceiling_of(sample, self.settings, space)
        return score_prediction(sample, prediction, self.settings, space)

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return panoptic quality, mean IoU and, where they are scored, both kinds of AP."""
        return compute_split(rows, self.settings, self._label_space())

    def picture(
        self, sample: PanopticSample, prediction: PanopticPrediction
    ) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return photograph, truth and prediction."""
        space = self._label_space()
        return sample_pictures(sample.photo, sample.truth, prediction.fused, space, faithful=False)

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List image files."""
        return list_inputs(paths)

    def load_input(self, item: Item) -> PanopticSample:
        """Read one image file."""
        settings = self.settings.input
        return load_input(
            item,
            EvaluationPlacement(settings),
            image_normalization(self.settings),
            max_network_px=settings.max_network_px,
            hint="raise input.max_network_px or lower input.size_hw",
        )

    def check_format(self, format: str) -> None:
        """Refuse Cityscapes' formats for class lists that do not fit into them."""
        check_export_format(format, self._label_space())

    def export(
        self, item: Item, sample: PanopticSample, prediction: PanopticPrediction, format: str
    ) -> Record:
        """Write one prediction."""
        return export_prediction(
            item, sample, prediction, format, self._label_space(), self.settings
        )

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Write the JSON of the formats that have one."""
        return export_index(format, rows, self._label_space())

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read weights of a checkpoint or published archive of the original, for this network."""
        space = self._label_space()
        return import_weights(
            path, self.settings.network, num_stuff=space.num_stuff, num_thing=space.num_things
        )

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read a checkpoint or published archive of the original."""
        return import_original(path)

    def _label_space(self) -> LabelSpace:
        if not hasattr(self, "_space"):
            self._space = label_space(self.settings.data)
        return self._space
