"""Stages in a process of their own: python -m tests.chaos.stage_job KIND FOLDER IMAGES [inline]"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tests.eagleray_ops.small_data import small_settings, write_coco
from tests.eagleray_vision.clip.small_clip import save_small

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import BaseTask, Settings, Stage
from eagleray_ops.stages import TRAIN, ops_stages
from eagleray_vision.clip.features import ClipFeatureSettings, ClipFeatureStage

ITEMS_PER_SHARD = 2


class JobTask(BaseTask):
    """Some stages alone."""

    name = "job"

    def __init__(self, stages: list[Stage]) -> None:
        super().__init__(Settings())
        self._stages = stages

    def stages(self) -> list[Stage]:
        return self._stages


def rerp_stages(images: Path) -> list[Stage]:
    """Return those that training with distorted images reads."""
    settings = small_settings(images, rerp={"mode": "offline"})
    return [stage for stage in ops_stages(settings) if stage.source == TRAIN]


def clip_stages(images: Path) -> list[Stage]:
    """Return that of a small CLIP's features."""
    settings = ClipFeatureSettings(weights=str(images / "clip.safetensors"))
    return [ClipFeatureStage(settings, [images / "photos"])]


def write_clip_and_photos(images: Path, count: int) -> None:
    """Write a small CLIP and photographs of two sizes."""
    save_small(images / "clip.safetensors")
    (images / "photos").mkdir()
    for index in range(count):
        noise = np.random.default_rng(index).integers(0, 256, (40 + 24 * (index % 2), 64, 3))
        Image.fromarray(noise.astype(np.uint8)).save(images / f"photos/{index:03d}.png")


STAGES: dict[str, Callable[[Path], list[Stage]]] = {"rerp": rerp_stages, "clip": clip_stages}
WRITERS: dict[str, Callable[[Path, int], None]] = {
    "rerp": lambda images, count: write_coco(images / "coco", "train2017", count),
    "clip": write_clip_and_photos,
}


def prepare(kind: str, folder: Path, images: Path, *, inline: bool) -> None:
    prepare_stages(
        JobTask(STAGES[kind](images)),
        Store(str(folder)),
        PrepareSettings(workers=2, items_per_shard=ITEMS_PER_SHARD),
        RunOptions(inline=inline),
    )


if __name__ == "__main__":
    prepare(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), inline="inline" in sys.argv)
