"""The task: what the engine calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from eagleray.task import (
    Benchmark,
    Evaluation,
    LossTerm,
    Metrics,
    Phase,
    Requirement,
    Rows,
    Schedule,
    Settings,
    Stage,
    StepContext,
    Training,
)

from .data import RayBank, RayBatch, Sample, Views
from .model import Field
from .settings import MyTaskSettings
from .stages import ViewStage

Picture = npt.NDArray[np.uint8]
"""A prediction: ``(H, W, 3)`` RGB."""


class MyTask(Training[Field, RayBatch, RayBank], Evaluation[Field, Sample, Picture]):
    """A field of color and density, fitted to photographs of one scene."""

    name: ClassVar[str] = "my_task"
    summary: ClassVar[str] = "One scene: new views from photographs of it."
    settings_type: ClassVar[type[Settings]] = MyTaskSettings
    settings: MyTaskSettings

    def requirements(self) -> Sequence[Requirement]:
        """Ask for the scene's folder, where one is named."""
        root = self.settings.data.root
        there = not root or (Path(root).expanduser() / "transforms_train.json").is_file()
        return (Requirement("data", there, f"{root!r} needs transforms_train.json; set data.root"),)

    def stages(self) -> Sequence[Stage]:
        """Return one stage per split."""
        return [ViewStage(self.settings.data, source) for source in ("train", "val")]

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> RayBank | Views:
        """Return the rays to learn from, or the views to be guessed."""
        views = rows[f"views:{source}"]
        return RayBank(views) if source == "train" else Views(views)

    def build(self) -> Field:
        """Return the empty field."""
        settings = self.settings
        return Field(settings.cells, settings.ray_samples, settings.near, settings.far)

    def phases(self) -> Sequence[Phase]:
        """Return the recipe; a sample is a ray."""
        return (
            Phase(
                steps=self.settings.steps,
                batch_size=self.settings.rays,
                optimizer="adam",
                lr=self.settings.lr,
                schedule=Schedule(kind="cosine"),
            ),
        )

    def losses(self, model: Field, batch: RayBatch, step: StepContext) -> Mapping[str, LossTerm]:
        """Return the squared error of the colors, per ray."""
        error = (model(batch.origins, batch.directions) - batch.colors).square()
        return {"color": LossTerm(error.mean(1).sum(), len(error))}

    def benchmarks(self) -> Sequence[Benchmark]:
        """Return the likeness of the views of ``val``, which were not trained on."""
        protocol = f"Mean over views of the PSNR in dB at {self.settings.data.size_px} px."
        return (Benchmark("val", "val", "psnr", protocol, {"squared_error": "float64"}),)

    def predict(self, model: Field, samples: Sequence[Sample]) -> Sequence[Picture]:
        """Return the views, looked at through the field."""
        pictures = []
        for sample in samples:
            colors = model(sample.rays.origins, sample.rays.directions)
            picture = (255 * colors).round().clamp(0, 255).byte().cpu().numpy()
            pictures.append(picture.reshape(sample.view.photo.shape))
        return pictures

    def score(self, benchmark: str, sample: Sample, prediction: Picture) -> Mapping[str, Any]:
        """Return the mean squared error of one view's colors, 0 to 1."""
        difference = (sample.view.photo.astype(float) - prediction) / 255
        return {"squared_error": float((difference**2).mean())}

    def compute(self, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Metrics:
        """Return the mean peak signal-to-noise ratio in dB."""
        errors = np.array([row["squared_error"] for row in rows], np.float64)
        decibels = -10 * np.log10(np.maximum(errors, 1e-10))
        return Metrics({"psnr": float(decibels.mean()) if len(errors) else float("nan")})

    def picture(self, sample: Sample, prediction: Picture) -> Mapping[str, npt.NDArray[np.uint8]]:
        """Return the photograph and what the field shows."""
        return {"truth": sample.view.photo, "prediction": prediction}
