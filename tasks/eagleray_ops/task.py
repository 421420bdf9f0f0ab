"""OPS as a task (Zheng et al., Open Panoramic Segmentation, ECCV 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from eagleray.task import (
    Benchmark,
    Dataset,
    Diagnostic,
    Download,
    FrozenFile,
    ImportedCheckpoint,
    Importing,
    Item,
    LabelLayers,
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
    Viewing,
)
from eagleray_ops.benchmarks import compute_split, ops_benchmarks, score_image, sum_confusion
from eagleray_ops.checkpoint_import import convert_checkpoint, import_original, read_checkpoint
from eagleray_ops.data import TrainingImages, evaluation_images, network_hw, network_image
from eagleray_ops.downloads import CLIP_HINT, DOWNLOADS
from eagleray_ops.exports import EXPORT_FORMATS, export_index, export_prediction
from eagleray_ops.losses import proposal_losses, step_draws
from eagleray_ops.model.network import CLIP_PREFIX, OpsNetwork
from eagleray_ops.model.words import NetworkWords, clip_file, clip_form, read_clip_for, word_rows
from eagleray_ops.picture import palette_of, sample_pictures
from eagleray_ops.predict import predict_image
from eagleray_ops.published import PUBLISHED
from eagleray_ops.recipes import parameter_groups, phases
from eagleray_ops.settings import OpsSettings
from eagleray_ops.stages import (
    TRAIN,
    data_folders,
    data_requirements,
    has_images,
    ops_stages,
    stage_labels,
)
from eagleray_ops.training_words import training_words
from eagleray_ops.view import PanoramaScene, checked, viewed_benchmark
from eagleray_vision.clip.vocabulary import Vocabulary
from eagleray_vision.images.errors import UnreadableImageError, UnsupportedImageError
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.inputs import list_inputs
from eagleray_vision.inputs.listing import PROBLEM, input_path
from eagleray_vision.samples.semantic import SemanticBatch, SemanticPrediction, SemanticSample
from eagleray_vision.scoring.diagnostics import confusion_diagnostics, semantic_layers


class OpsFlags(Settings):
    """What ``predict`` takes beside the engine's own flags."""

    classes: str = Field(
        "",
        description='Words that pixels are compared with, such as "road, car|automobile"; empty: '
        "those of the experiment.",
    )


class OPSTask(
    Task[OpsNetwork, SemanticSample, SemanticBatch, SemanticPrediction, TrainingImages],
    Importing,
    Viewing[OpsNetwork],
):
    """Classes by their names, in panoramas and photographs, with a frozen CLIP."""

    name: ClassVar[str] = "ops"
    summary: ClassVar[str] = "OPS: segments panoramas into whatever classes are named."
    settings_type: ClassVar[type[Settings]] = OpsSettings
    formats: ClassVar[Sequence[str]] = EXPORT_FORMATS
    flags_type: ClassVar[type[Settings]] = OpsFlags
    settings: OpsSettings

    def requirements(self) -> Sequence[Requirement]:
        """Return the data sets and CLIP's weights."""
        weights = clip_file(self.settings.clip)
        return (
            *data_requirements(self.settings.data),
            Requirement(
                "CLIP's weights", weights.is_file(), self._clip_hint(weights), training_only=True
            ),
        )

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return the published networks and the CLIPs that they begin with."""
        return DOWNLOADS

    def stages(self) -> Sequence[Stage]:
        """Return the labels of the data sets that are there, and the images of RERP."""
        return ops_stages(self.settings)

    def stages_of(self, source: str) -> Sequence[str]:
        """Return the labels, and for distorted images their stage."""
        return stage_labels(source, self.settings)

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset | TrainingImages:
        """Return the images of a source."""
        if source != TRAIN:
            return evaluation_images(source, rows, self.settings)
        labels, *distorted = stage_labels(source, self.settings)
        root = data_folders(self.settings.data)[TRAIN].root
        others = rows[distorted[0]] if distorted else None
        return TrainingImages(rows[labels], others, root, self.settings)

    def build(self) -> OpsNetwork:
        """Return the network with random weights."""
        settings = self.settings
        return OpsNetwork(
            settings.clip,
            settings.adapter,
            clip_form(settings.clip),
            faithful=settings.faithful,
        )

    def frozen_files(self) -> Sequence[FrozenFile]:
        """Return the file of CLIP's weights."""
        weights = clip_file(self.settings.clip)
        return (FrozenFile("clip", weights, self._clip_hint(weights)),)

    def read_frozen(self, model: OpsNetwork, file: FrozenFile) -> Mapping[str, Tensor]:
        """Return CLIP's tensors; training changes its table of positions alone."""
        clip = read_clip_for(self.settings.clip, model.form, file.path)
        return {CLIP_PREFIX + name: value for name, value in clip.model.state_dict().items()}

    def phases(self) -> Sequence[Phase]:
        """Return the only phase."""
        return phases()

    def parameter_groups(self, model: OpsNetwork, phase: Phase) -> Sequence[ParameterGroup]:
        """Return the adapter, the background vector and CLIP's positions."""
        return parameter_groups(model, faithful=self.settings.faithful)

    def on_phase_start(self, model: OpsNetwork, phase: Phase, data: TrainingImages) -> None:
        """Embed the words of training, before the weights are divided among ranks."""
        self._training_rows(model)

    def losses(
        self, model: OpsNetwork, batch: SemanticBatch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        """Return class, mask and Dice losses of the supervised layers."""
        proposals = model(batch.images, self._training_rows(model), supervised=True)
        draw = step_draws(step, batch.images.device)
        return proposal_losses(proposals, batch.labels, self.settings.loss, draw)

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return COCO-Stuff and panoramas, those whose images are there; all where none are."""
        known = ops_benchmarks(self.settings, PUBLISHED)
        there = [b for b in known if b.source and has_images(b.source, self.settings.data)]
        names = {one.name for one in there}
        means = [one for one in known if one.mean_of and names.issuperset(one.mean_of)]
        return [*there, *means] or known

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words that pixels are compared with."""
        return _vocabulary(self.settings.vocabulary or training_words(self.settings), self.settings)

    def predict(
        self, model: OpsNetwork, samples: Sequence[SemanticSample]
    ) -> Sequence[SemanticPrediction]:
        """Return a class per pixel."""
        rows = self.vocabulary.embed(NetworkWords(model, self.settings.clip))

        def windows(images: Tensor) -> Tensor:
            return rows.class_scores(model.scores(images, rows.rows), dim=1)

        return [predict_image(sample, windows, self.settings) for sample in samples]

    def score(
        self, benchmark: str, sample: SemanticSample, prediction: SemanticPrediction
    ) -> Mapping[str, Any]:
        """Return confusion matrices of one image."""
        return score_image(sample, prediction, benchmark, len(self._words_of(benchmark)))

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return mean IoU: of all and of new words, on panoramas also by latitude and so on."""
        trained = training_words(self.settings)
        return compute_split(rows, benchmark, self._words_of(benchmark), trained)

    def diagnostics(
        self, benchmark: str, rows: Iterable[Mapping[str, Any]]
    ) -> Sequence[Diagnostic]:
        """Return which words are taken for which, over all folds."""
        words = self._words_of(benchmark)
        return confusion_diagnostics(sum_confusion(rows, benchmark, len(words)), words)

    def layers(self, sample: SemanticSample, prediction: SemanticPrediction) -> LabelLayers:
        """Return the classes of truth and prediction."""
        names = self.vocabulary.names
        maps = {"truth": sample.truth, "prediction": prediction.classes}
        return semantic_layers(maps, names, palette_of(names))

    def picture(
        self, sample: SemanticSample, prediction: SemanticPrediction
    ) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return photograph, truth and prediction."""
        return sample_pictures(sample, prediction, self.vocabulary.names)

    def with_flags(self, flags: OpsFlags) -> Self:
        """Return the task that looks for other words."""
        words = Vocabulary.parse(flags.classes, background=self.settings.background_words)
        values = {**self.settings.model_dump(), "vocabulary": [one.text for one in words.classes]}
        return type(self)(OpsSettings.model_validate(values))

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List image files."""
        return list_inputs(paths)

    def load_input(self, item: Item) -> SemanticSample:
        """Read one image file; it is turned upright by its EXIF tag."""
        if PROBLEM in item.payload:
            raise UnreadableImageError(f"{item.payload['path']}: {item.payload[PROBLEM]}")
        photo = read_rgb(input_path(item), apply_orientation=True)
        size = (photo.shape[0], photo.shape[1])
        short, patch = min(network_hw(size, self.settings)), self.settings.adapter.patch_px
        if short < patch:
            raise UnsupportedImageError(
                f"{item.payload['path']}: {size[1]} x {size[0]} pixels become a network input "
                f"whose short side is {short}, at least {patch} are needed: cut it to a shape "
                "whose sides differ less, or raise input.long_edge_px"
            )
        return SemanticSample(item.key, network_image(photo, self.settings), photo=photo)

    def export(
        self, item: Item, sample: SemanticSample, prediction: SemanticPrediction, format: str
    ) -> Record:
        """Write one prediction."""
        classes = self.vocabulary.names
        return export_prediction(item, sample, prediction, format, classes)

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Write the list of classes."""
        return export_index(format, rows, self.vocabulary.names)

    def interactive_scene(self, model: OpsNetwork, rows: Mapping[str, Rows]) -> PanoramaScene:
        """Return the images of a benchmark that the run has read, to be looked at from inside."""
        benchmark = viewed_benchmark(ops_benchmarks(self.settings, {}), rows)
        settings = self.on_benchmark(benchmark).settings
        device = model.background.device

        @torch.inference_mode()
        def predict(
            sample: SemanticSample, words: Sequence[str], check: Callable[[], None]
        ) -> SemanticPrediction:
            rows = _vocabulary(words, settings).embed(NetworkWords(model, settings.clip))

            def windows(images: Tensor) -> Tensor:
                return rows.class_scores(model.scores(images, rows.rows), dim=1)

            moved = replace(sample, image=sample.image.to(device))
            return predict_image(moved, checked(windows, check), settings)

        images = evaluation_images(benchmark.source, rows, settings)
        return PanoramaScene(images, self.settings.vocabulary or benchmark.vocabulary, predict)

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read weights of OPS, SAN or CLIP for this network."""
        return convert_checkpoint(read_checkpoint(path), self.settings.clip, self.settings.adapter)

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read weights of OPS, SAN or CLIP, with the sizes that they tell."""
        return import_original(path)

    def _training_rows(self, model: OpsNetwork) -> Tensor:
        return word_rows(model, self.settings.clip, training_words(self.settings))

    def _words_of(self, benchmark: str) -> Sequence[str]:
        known = {one.name: one.vocabulary for one in ops_benchmarks(self.settings, {})}
        return known[benchmark]

    def _clip_hint(self, weights: Path) -> str:
        return f"set clip.weights (now {str(weights)!r}); {CLIP_HINT}"


def _vocabulary(words: Sequence[str], settings: OpsSettings) -> Vocabulary:
    return Vocabulary.parse(
        words, background=settings.background_words, prompts=settings.clip.prompts
    )
