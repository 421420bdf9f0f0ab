"""POP-3D as a task (Vobecky et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from eagleray.task import (
    Benchmark,
    CostTable,
    Dataset,
    Download,
    Hit,
    ImportedCheckpoint,
    Importing,
    Item,
    LossTerm,
    Metrics,
    ParameterGroup,
    Phase,
    Querying,
    Record,
    Requirement,
    Rows,
    Settings,
    SolidScene,
    Stage,
    StepContext,
    Task,
    Viewing,
)
from eagleray_pop3d.benchmarks import (
    RETRIEVAL_SPLITS,
    asks_targets,
    compute_benchmark,
    pop3d_benchmarks,
    score_frame,
    splits_of,
)
from eagleray_pop3d.checkpoint_import import import_start, import_weights
from eagleray_pop3d.data import (
    EvaluationFrames,
    EvaluationSample,
    Occ3dFrames,
    RetrievalQueries,
    TargetQueries,
    TrainingFrames,
    queries_file,
    read_queries,
    still,
)
from eagleray_pop3d.downloads import DOWNLOADS
from eagleray_pop3d.exports import EXPORT_FORMATS, export_prediction
from eagleray_pop3d.feature_costs import cost_table
from eagleray_pop3d.losses import feature_loss, occupancy_losses
from eagleray_pop3d.model.network import Pop3dNetwork, normalize_images
from eagleray_pop3d.picture import sample_pictures
from eagleray_pop3d.predict import FramePrediction, predict_frame, predict_from_targets
from eagleray_pop3d.query_pictures import hit_files
from eagleray_pop3d.querying import (
    FIT_FRAMES,
    INDEX_SCHEMA,
    find_hits,
    fit_voxel_codec,
    index_row,
)
from eagleray_pop3d.recipes import PHASE
from eagleray_pop3d.samples import FrameBatch, check_rig, read_frame
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.stages import (
    FeatureStage,
    KeyFrameStage,
    count_key_frames,
    extractor_weights,
)
from eagleray_pop3d.video import film_of_rows
from eagleray_pop3d.viewing import AskedText, OccupancyScene
from eagleray_pop3d.voxels import cells_of
from eagleray_pop3d.words import ClassVectors, class_vectors, embed_texts
from eagleray_vision.codecs import Codec, codec_of_json
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.inputs import list_inputs
from eagleray_vision.inputs.listing import input_path

TRAIN = "train"
_SOURCES = (TRAIN, "val", "test")
_BACKBONE = "img_backbone."


class POP3DTask(
    Task[Pop3dNetwork, EvaluationSample, FrameBatch, FramePrediction, TrainingFrames],
    Importing,
    Viewing[Pop3dNetwork],
    Querying[Pop3dNetwork, EvaluationSample, FramePrediction],
):
    """Open-vocabulary occupancy from camera images."""

    name: ClassVar[str] = "pop3d"
    summary: ClassVar[str] = "POP-3D: occupancy in 3-D from cameras that can be asked in words."
    settings_type: ClassVar[type[Settings]] = Pop3dSettings
    formats: ClassVar[Sequence[str]] = EXPORT_FORMATS
    index_schema: ClassVar[Mapping[str, str]] = INDEX_SCHEMA
    fit_units: ClassVar[int] = FIT_FRAMES
    settings: Pop3dSettings

    def requirements(self) -> Sequence[Requirement]:
        """Return the key frames, the extractor's weights and the network's to begin with."""
        settings = self.settings
        found = [
            Requirement(
                "key frames",
                settings.data.folder.is_dir(),
                f"set data.root (now {settings.data.root!r}) to the folder of the data",
            )
        ]
        for name, path in (
            ("the extractor's weights", extractor_weights(settings.features)),
            ("weights to begin with", settings.network.backbone.weights),
        ):
            if path:
                hint = f"{path} does not exist"
                there = Path(path).expanduser().is_file()
                found.append(Requirement(name, there, hint, training_only=True))
        return found

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return the published weights and vectors of words."""
        return DOWNLOADS

    def stages(self) -> Sequence[Stage]:
        """Return key frames of all sources, and the features that training learns."""
        settings = self.settings
        frames = [KeyFrameStage(settings.data, source) for source in _SOURCES]
        features = [FeatureStage(settings.data, settings.features, TRAIN)]
        truth = settings.truth
        if truth.retrieval and truth.targets:
            for split in ("val", "test"):
                if queries_file(Path(truth.retrieval), split).is_file():
                    asked = read_queries(Path(truth.retrieval), [split])
                    tokens = frozenset(query.token for query in asked)
                    features.append(FeatureStage(settings.data, settings.features, split, tokens))
        return [*frames, *features]

    def stages_of(self, source: str) -> Sequence[str]:
        """Return the key frames; training also reads features, evaluation never does."""
        if source == TRAIN:
            return (f"{KeyFrameStage.name}:{TRAIN}", f"{FeatureStage.name}:{TRAIN}")
        frames = [f"{KeyFrameStage.name}:{split}" for split in splits_of(source)]
        if asks_targets(source):
            return [*frames, *(f"{FeatureStage.name}:{split}" for split in splits_of(source))]
        return frames

    def costs(self, num_items: Mapping[str, int], phases: Sequence[Phase]) -> Sequence[CostTable]:
        """Return what each codec of the features would take, and streaming them."""
        frames, cameras = count_key_frames(self.settings.data, TRAIN)
        frames = num_items.get(f"{FeatureStage.name}:{TRAIN}", frames)
        if not frames:
            return ()
        return [cost_table(frames, cameras, phases, chosen=self.settings.features.codec)]

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset[Any, Any]:
        """Return the key frames of training or of a benchmark."""
        labels = self.stages_of(source)
        if source == TRAIN:
            return TrainingFrames(rows[labels[0]], rows[labels[1]], self.settings)
        frames = {split: rows[f"{KeyFrameStage.name}:{split}"] for split in splits_of(source)}
        if asks_targets(source):
            features = {split: rows[f"{FeatureStage.name}:{split}"] for split in frames}
            queries = read_queries(Path(self.settings.truth.retrieval), splits_of(source))
            return TargetQueries(frames, features, queries, self.settings)
        if source.removeprefix("retrieval_") in RETRIEVAL_SPLITS and source != "val":
            folder = Path(self.settings.truth.retrieval)
            return RetrievalQueries(frames, read_queries(folder, splits_of(source)), self.settings)
        own = Occ3dFrames if source == "occ3d" else EvaluationFrames
        return own(rows[labels[0]], self.settings)

    def build(self) -> Pop3dNetwork:
        """Return the network with random weights."""
        return Pop3dNetwork(self.settings.network)

    def load_pretrained(self, model: Pop3dNetwork) -> None:
        """Put a detector's backbone and pyramid in, or a backbone of torchvision's."""
        path = self.settings.network.backbone.weights
        if path:
            start = import_start(Path(path).expanduser(), self.settings.network)
            model.load_state_dict(dict(start.state_dict), strict=False)

    def phases(self) -> Sequence[Phase]:
        """Return the only phase."""
        return (PHASE,)

    def parameter_groups(self, model: Pop3dNetwork, phase: Phase) -> Sequence[ParameterGroup]:
        """Return the image backbone, which learns slower, and everything else."""
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        backbone = [name for name in trained if name.startswith(_BACKBONE)]
        others = [name for name in trained if not name.startswith(_BACKBONE)]
        factor = self.settings.network.backbone.lr_factor
        return (ParameterGroup(others), ParameterGroup(backbone, lr_factor=factor))

    def on_phase_start(self, model: Pop3dNetwork, phase: Phase, data: TrainingFrames) -> None:
        """Read the codec that targets were encoded with."""
        device = next(model.parameters()).device
        self._codec: Codec = codec_of_json(data.codec).to(device)

    def losses(
        self, model: Pop3dNetwork, batch: FrameBatch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        """Return the losses of voxels and of point features."""
        settings = self.settings
        images = normalize_images(batch.images, batch.sizes_hw, batch.kept)
        grid = settings.network.grid
        places = [cells_of(xyz, grid) for xyz in batch.feature_xyz]
        answers = model(images, batch.lidar2img, feature_points=places)
        terms = occupancy_losses(answers.voxel_logits, batch.occupancy, settings.losses)
        targets = [self._codec.decode(codes) for codes in batch.targets]
        features = answers.point_features or []
        return {**terms, "feature": feature_loss(features, targets, settings.losses)}

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return occupancy, and those whose truth is named."""
        return pop3d_benchmarks(self.settings.truth)

    @cached_property
    def words(self) -> ClassVectors:
        """Vectors of the classes' words."""
        return class_vectors(self.settings.text, self.settings.network.heads.feature_channels)

    def predict(
        self, model: Pop3dNetwork, samples: Sequence[EvaluationSample]
    ) -> Sequence[FramePrediction]:
        """Return classes of voxels and points."""
        return [self._predicted(model, sample) for sample in samples]

    def score(
        self, benchmark: str, sample: EvaluationSample, prediction: FramePrediction
    ) -> Mapping[str, Any]:
        """Return counts of a key frame, or the precision of a query."""
        return score_frame(benchmark, sample, prediction, self.settings.network.grid)

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return IoUs or mean average precisions in percent."""
        return compute_benchmark(benchmark, rows)

    def picture(
        self, sample: EvaluationSample, prediction: FramePrediction
    ) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return photographs, and truth and prediction from above."""
        return sample_pictures(sample, prediction, self.settings.network.grid)

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List key frames of one's own rig, a JSON file each."""
        return list_inputs(paths, frozenset({".json"}))

    def load_input(self, item: Item) -> EvaluationSample:
        """Read one key frame; its paths are relative to its folder, or to the data's."""
        path = Path(input_path(item))
        frame = read_frame_json(path)
        beside = (path.parent / frame.lidar.path).is_file()
        root = path.parent if beside else self.settings.data.folder
        check_rig(frame, self.settings.network.encoder.num_cameras)
        return EvaluationSample(read_frame(frame, root, still(self.settings.images)))

    def export(
        self, item: Item, sample: EvaluationSample, prediction: FramePrediction, format: str
    ) -> Record:
        """Write one prediction."""
        return export_prediction(item, sample, prediction, format, self.settings.network.grid)

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Write the film of all key frames."""
        return {"occupancy.mp4": film_of_rows(rows)} if format == "video" else {}

    def interactive_scene(
        self, model: Pop3dNetwork, rows: Mapping[str, Rows]
    ) -> SolidScene[AskedText]:
        """Return the key frames of the validation split."""
        settings = self.settings
        return OccupancyScene(
            EvaluationFrames(rows[f"{KeyFrameStage.name}:val"], settings, needs_labels=False),
            lambda sample: self.predict(model, [sample])[0],
            self._vector,
            settings.network.grid,
        )

    def query_splits(self) -> Sequence[str]:
        """Return all splits of key frames."""
        return ("val", TRAIN, "test")

    def query_stages(self, split: str) -> Sequence[str]:
        """Return the key frames."""
        return (f"{KeyFrameStage.name}:{split}",)

    def query_units(self, split: str, rows: Mapping[str, Rows]) -> Dataset[EvaluationSample, Any]:
        """Return the key frames of a split."""
        return EvaluationFrames(
            rows[f"{KeyFrameStage.name}:{split}"], self.settings, needs_labels=False
        )

    def fit_index(self, predictions: Iterable[FramePrediction]) -> Mapping[str, Any]:
        """Fit the codebook of voxels' features."""
        return fit_voxel_codec(predictions)

    def index_row(
        self, sample: EvaluationSample, prediction: FramePrediction, fitted: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the occupied voxels and their codes."""
        return index_row(prediction, fitted)

    def ask(self, text: str, index: Rows, units: Sequence[str], top: int) -> Sequence[Hit]:
        """Return boxes of voxels that are like a text."""
        return find_hits(self._vector(text), index, units, top, self.settings.network.grid)

    def show(
        self,
        text: str,
        hits: Sequence[Hit],
        sample: EvaluationSample,
        row: Mapping[str, Any],
        fitted: Mapping[str, Any],
    ) -> Mapping[str, bytes]:
        """Return a picture of boxes and voxels, and the voxels as PLY."""
        grid = self.settings.network.grid
        return hit_files(self._vector(text), hits, sample, row, fitted, grid)

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read published weights."""
        return import_weights(path, self.settings.network)

    def _predicted(self, model: Pop3dNetwork, sample: EvaluationSample) -> FramePrediction:
        cosine, query = self.settings.cosine_scores, self._query(sample)
        if sample.match_features is not None:
            grid = self.settings.network.grid
            return predict_from_targets(sample, query, grid, cosine=cosine)
        return predict_frame(model, sample, self.words, query, cosine=cosine)

    def _query(self, sample: EvaluationSample) -> Tensor | None:
        return self._vector(sample.query) if sample.query else None

    def _vector(self, text: str) -> Tensor:
        channels = self.settings.network.heads.feature_channels
        return embed_texts(self.settings.text, [text], channels)[0]
