"""OmniSeg3D as a task: one experiment is one scene."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from eagleray.task import (
    Batches,
    Benchmark,
    Dataset,
    Download,
    ImportedCheckpoint,
    Importing,
    InputError,
    InteractiveScene,
    Item,
    LossTerm,
    Metrics,
    ParameterGroup,
    Phase,
    Record,
    Requirement,
    Rows,
    Schedule,
    Settings,
    Stage,
    StepContext,
    Task,
    Viewing,
)
from eagleray_kernels import TrainingSamples
from eagleray_omniseg3d.benchmarks import (
    OBJECTS,
    PARTS,
    REPLICA,
    VIEWS,
    compute_metrics,
    scene_benchmarks,
    score_click,
    score_replica,
    score_view,
)
from eagleray_omniseg3d.checkpoint_import import convert, read_checkpoint
from eagleray_omniseg3d.click.selection import Prompt, Similarity
from eagleray_omniseg3d.data import (
    TEST,
    ClickedObjects,
    ClickSample,
    HeldOutViews,
    InstanceSample,
    ReplicaInstances,
    SceneData,
)
from eagleray_omniseg3d.downloads import DOWNLOADS
from eagleray_omniseg3d.export import EXPORT_FORMATS, export_selection
from eagleray_omniseg3d.losses import (
    Contrast,
    color_losses,
    depth_term,
    distortion_term,
    feature_losses,
)
from eagleray_omniseg3d.model.frozen_rays import FrozenRays
from eagleray_omniseg3d.model.occupancy import UPDATE_EVERY, WARMUP_STEPS
from eagleray_omniseg3d.model.rendering import (
    FeatureSamples,
    composite_features,
    drop_hidden,
    find_feature_samples,
    first_rays,
    march_training,
    render_color,
    render_features,
)
from eagleray_omniseg3d.model.scene_model import FEATURE_PREFIXES, SceneModel
from eagleray_omniseg3d.model.view_rendering import ViewSample, render_view
from eagleray_omniseg3d.picture import click_pictures, view_pictures
from eagleray_omniseg3d.predict import (
    ClickRequest,
    answer_clicks,
    click_object,
    read_click_file,
    score_instance,
)
from eagleray_omniseg3d.scenes.ray_bank import COLOR, SEMANTICS, RayBank, RayBatch
from eagleray_omniseg3d.settings import OmniSeg3DSettings
from eagleray_omniseg3d.stages import ROOMS_LABEL, MaskStage, OriginalFolderStage, PatchStage
from eagleray_omniseg3d.view.trained_scene import TrainedScene
from eagleray_toyworld.stage import WorldStage
from eagleray_vision.operators import operator_requirements

_EPOCH_STEPS = 1000
"""The original's schedules move once per epoch of 1000 steps."""
_LAST_LR_FACTOR = 1 / 30
_EPS = 1e-15
_PRECISION = "fp16"
_MARCHED_SAMPLES_FACTOR = 4
"""Samples that are only marched, or frozen, keep no activations: a step takes more of them."""


class OmniSeg3DTask(Task[SceneModel, Any, RayBatch, Any, RayBank], Importing, Viewing[SceneModel]):
    """Hierarchical segmentation of a captured scene, by clicks."""

    name: ClassVar[str] = "omniseg3d"
    summary: ClassVar[str] = (
        "OmniSeg3D: a radiance field whose features follow the hierarchy of 2-D masks."
    )
    settings_type: ClassVar[type[Settings]] = OmniSeg3DSettings
    formats: ClassVar[Sequence[str]] = EXPORT_FORMATS
    settings: OmniSeg3DSettings
    _frozen_rays: FrozenRays | None = None

    @cached_property
    def data(self) -> SceneData:
        """The scene."""
        return SceneData(self.settings)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the settings only."""
        return {"settings": self.settings}

    def requirements(self) -> Sequence[Requirement]:
        """Return the scene's folder, the compiled operators and, where they are used, Segment
        Anything's weights.
        """
        s = self.settings
        generated = s.data.toyworld is not None
        there = generated or (s.data.folder != Path() and s.data.folder.is_dir())
        found = [
            Requirement(
                f"scene ({s.data.format})",
                there,
                f"set settings.data.root to the scene's folder (now {s.data.root!r})",
            )
        ]
        if s.masks.source == "sam" and SEMANTICS in s.phases:
            found.append(
                Requirement(
                    "Segment Anything weights",
                    Path(s.masks.checkpoint).expanduser().is_file(),
                    "set settings.masks.checkpoint to the weights of "
                    f"{s.masks.model} (now {s.masks.checkpoint!r}; eagleray download "
                    f"sam_{s.masks.model} fetches them), or take another masks.source",
                )
            )
        return [*found, *operator_requirements()]

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return Segment Anything's weights and the authors' data."""
        return DOWNLOADS

    def stages(self) -> Sequence[Stage]:
        """Return what makes the room (toy world), the masks and the patches."""
        s, stages = self.settings, list[Stage]()
        if s.data.toyworld is not None:
            stages.append(WorldStage(s.data.toyworld, "train"))
        if SEMANTICS in s.phases and s.masks.source != "hierarchy_files":
            upstream = (ROOMS_LABEL,) if s.data.toyworld is not None else ()
            stages += [MaskStage(s, upstream), PatchStage(s)]
            if s.masks.folder:
                folder = Path(s.masks.folder).expanduser()
                stages.append(OriginalFolderStage(folder, pictures=s.masks.pictures))
        return stages

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset | Batches:
        """Return the training rays, the held-out views, or the objects of a benchmark."""
        if source == "train":
            return self.data.ray_bank(rows)
        if source == TEST:
            return HeldOutViews(self.data, TEST)
        if source == OBJECTS:
            return ClickedObjects(self.data, self.settings.data.labels)
        if source == PARTS:
            return ClickedObjects(self.data, self.settings.data.part_labels)
        if source == REPLICA:
            return ReplicaInstances(self.data)
        raise InputError(f"task {self.name!r} has no data called {source!r}")

    def build(self) -> SceneModel:
        """Return the field and its occupancy grid."""
        erode = self.settings.data.format == "colmap"
        return SceneModel(self.settings.field, erode=erode)

    def phases(self) -> Sequence[Phase]:
        """Return the phases with the paper's optimizer and schedule."""
        s = self.settings
        lengths = {
            COLOR: (s.color.steps, s.color.rays, s.color.lr),
            SEMANTICS: (s.semantics.steps, s.semantics.rays, s.semantics.lr),
        }
        return tuple(_phase(name, *lengths[name]) for name in s.phases)

    def parameter_groups(self, model: SceneModel, phase: Phase) -> Sequence[ParameterGroup]:
        """Return geometry and color in the first phase, features in the second."""
        is_semantic = phase.name == SEMANTICS
        names = [
            name
            for name, _ in model.named_parameters()
            if name.startswith(FEATURE_PREFIXES) == is_semantic
        ]
        return (ParameterGroup(names),)

    def on_phase_start(self, model: SceneModel, phase: Phase, data: RayBank) -> None:
        """Mark what no camera sees, before the color phase; forget rays marched before."""
        self._frozen_rays = FrozenRays(data.num_pixels)
        if phase.name != COLOR:
            return
        device = model.device
        box = data.scene.box
        if box is not None:
            model.field.box.copy_(torch.from_numpy(box))
        model.occupancy.mark_invisible(
            data.camera_matrix.to(device),
            data.world_from_cam.to(device),
            data.scene.size_hw,
            model.field.box,
            self.settings.field.box_tolerance,
        )

    def before_step(self, model: SceneModel, step: StepContext) -> None:
        """Update the occupancy grid every 16 steps of the color phase."""
        if step.phase.name != COLOR or step.step % UPDATE_EVERY:
            return
        model.occupancy.update(
            model.density,
            warmup=step.step < WARMUP_STEPS,
            generator=step.generator(salt="occupancy"),
        )

    def losses(
        self, model: SceneModel, batch: RayBatch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        """Return the losses of a batch of rays."""
        if step.phase.name == SEMANTICS:
            return self._semantic_losses(model, batch)
        return self._color_losses(model, batch)

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return what the scene's truth allows to measure."""
        return scene_benchmarks(self.settings)

    def predict(self, model: SceneModel, samples: Sequence[Any]) -> Sequence[Any]:
        """Render views, or click at objects."""
        return [self._predict_one(model, sample) for sample in samples]

    def score(self, benchmark: str, sample: Any, prediction: Any) -> Mapping[str, Any]:
        """Return the row of one view or object."""
        if benchmark == VIEWS:
            return score_view(sample, prediction)
        if benchmark == REPLICA:
            return score_replica(sample, prediction)
        return score_click(sample, prediction)

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return PSNR and SSIM, or mIoU."""
        return compute_metrics(benchmark, rows)

    def picture(self, sample: Any, prediction: Any) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return pictures of a view or a click."""
        if isinstance(sample, ViewSample):
            return view_pictures(sample, prediction)
        if isinstance(sample, ClickSample):
            return click_pictures(sample, prediction)
        return {}

    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List click files (JSON); what cannot be read becomes a reject when it is loaded."""
        for path in paths:
            files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
            base = path if path.is_dir() else path.parent
            for file in files:
                key = file.relative_to(base).with_suffix("").as_posix()
                try:
                    identity = json.dumps(read_click_file(file), sort_keys=True)
                except InputError as error:
                    if file == path and not path.exists():
                        raise
                    identity = str(error)
                yield Item(key, identity, {"path": str(file)})

    def load_input(self, item: Item) -> ClickRequest:
        """Read a click file; without ``views`` all views of the scene are selected in."""
        values = read_click_file(Path(item.payload["path"]))
        scene = self.data.scene
        names = values["views"] or [view.name for view in scene.views]
        names = [values["view"], *(n for n in names if n != values["view"])]
        views = tuple(
            self.data.sample(scene.views[scene.view_idx(name)], with_rgb=False) for name in names
        )
        return ClickRequest(
            views[0],
            tuple(values["clicks"]),
            values["threshold"],
            Similarity(
                normalize=not self.settings.faithful, distance_weight=values["distance_weight"]
            ),
            views,
        )

    def export(self, item: Item, sample: Any, prediction: Any, format: str) -> Record:
        """Write a selection; points are in the capture's own coordinates."""
        return export_selection(item, prediction, format, self.data.scene)

    def interactive_scene(
        self, model: SceneModel, rows: Mapping[str, Rows]
    ) -> InteractiveScene[Prompt]:
        """Return the scene for the viewer."""
        faithful = self.settings.faithful
        how = Similarity(normalize=not faithful)
        return TrainedScene(self.data, model, how, faithful=faithful)

    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read a full or slim checkpoint of the original."""
        model = SceneModel(self.settings.field, erode=False)
        return convert(read_checkpoint(path), model)

    def _predict_one(self, model: SceneModel, sample: Any) -> Any:
        faithful = self.settings.faithful
        if isinstance(sample, ViewSample):
            with_features = SEMANTICS in self.settings.phases
            return render_view(model, sample, with_features=with_features, faithful=faithful)
        if isinstance(sample, ClickSample):
            return click_object(model, sample, faithful=faithful)
        if isinstance(sample, InstanceSample):
            protocol = self.settings.evaluation.replica
            return score_instance(model, sample, protocol, faithful=faithful)
        if isinstance(sample, ClickRequest):
            return answer_clicks(model, sample, faithful=faithful)
        raise TypeError(f"cannot predict a {type(sample).__name__}")

    def _march(
        self, model: SceneModel, batch: RayBatch, chosen: slice | Tensor, max_samples: int | None
    ) -> tuple[int, TrainingSamples]:
        """Place samples on some of the rays of a batch, on the first of them within the bound."""
        return march_training(
            batch.rays_o[chosen],
            batch.rays_d[chosen],
            batch.noise[chosen],
            model.occupancy.density_bitfield,
            model.march,
            max_samples,
        )

    def _color_losses(self, model: SceneModel, batch: RayBatch) -> dict[str, LossTerm]:
        color, bound = self.settings.color, self.settings.field.max_step_samples
        _, samples = self._march(model, batch, slice(None), bound * _MARCHED_SAMPLES_FACTOR)
        num_rays, samples = first_rays(drop_hidden(model.field, samples), bound)
        seen = render_color(model.field, num_rays, samples)
        if color.background == "random":
            behind = batch.background[:num_rays]
        else:
            behind = torch.full_like(seen.rgb, float(color.background == "white"))
        rgb = seen.rgb + behind * (1.0 - seen.opacity[:, None])
        terms = color_losses(
            rgb, seen.opacity, batch.rgb[:num_rays], opacity_weight=color.opacity_weight
        )
        terms["distortion"] = distortion_term(
            seen.weights,
            samples.step_sizes,
            samples.t_starts,
            samples.packed_info,
            weight=color.distortion_weight,
        )
        if batch.depth is not None:
            depth = batch.depth[:num_rays]
            terms["depth"] = depth_term(seen.depth, depth, weight=color.depth_weight)
        return terms

    def _rendered_features(self, model: SceneModel, batch: RayBatch) -> Tensor:
        """Return the features of the batch's rays, the first ones where they do not all fit."""
        semantics = self.settings.semantics
        if not semantics.march_once or batch.view_idx is None or batch.pixel_idx is None:
            bound = self.settings.field.max_step_samples * _MARCHED_SAMPLES_FACTOR
            num_rays, samples = self._march(model, batch, slice(None), bound)
            weight = semantics.least_weight
            return render_features(model.field, num_rays, samples, least_weight=weight).features

        def march(places: Tensor) -> FeatureSamples:
            _, samples = self._march(model, batch, places, None)
            return find_feature_samples(model.field, samples, least_weight=semantics.least_weight)

        if self._frozen_rays is None:
            raise RuntimeError("the semantic phase has not been started: call on_phase_start")
        found = self._frozen_rays.samples(batch.view_idx, batch.pixel_idx, march)
        return composite_features(model.field, len(batch.rays_o), found)

    def _semantic_losses(self, model: SceneModel, batch: RayBatch) -> dict[str, LossTerm]:
        semantics = self.settings.semantics
        if batch.patch_ids is None or batch.correlation is None:
            raise InputError("the semantic phase needs patches: prepare the masks first")
        features = self._rendered_features(model, batch)
        contrast = Contrast(
            level_weight=semantics.level_weight,
            min_pixels=semantics.min_pixels,
            use_hierarchy=semantics.use_hierarchy,
            use_max_rule=semantics.use_max_rule,
            drop_last_level=self.settings.faithful,
        )
        return feature_losses(
            features,
            batch.patch_ids[: len(features)],
            batch.correlation,
            contrast,
            contrast_weight=semantics.contrast_weight,
        )


def _phase(name: str, steps: int, rays: int, lr: float) -> Phase:
    return Phase(
        name=name,
        steps=steps,
        batch_size=rays,
        optimizer="adam",
        lr=lr,
        eps=_EPS,
        schedule=Schedule(kind="cosine", end_factor=_LAST_LR_FACTOR, hold_steps=_EPOCH_STEPS),
        precision=_PRECISION,
    )
