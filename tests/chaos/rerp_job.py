"""RERP in a process of its own: ``python -m tests.chaos.rerp_job FOLDER IMAGES [inline]``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.eagleray_ops.small_data import small_settings

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import BaseTask, Stage
from eagleray_ops.stages import TRAIN, ops_stages


class RerpTask(BaseTask):
    """The stages of training alone: labels and distorted images."""

    name = "rerp_only"

    def __init__(self, images: Path) -> None:
        super().__init__(small_settings(images, rerp={"mode": "offline"}))

    def stages(self) -> list[Stage]:
        return [stage for stage in ops_stages(self.settings) if stage.source == TRAIN]


def prepare(folder: Path, images: Path, *, inline: bool) -> None:
    prepare_stages(
        RerpTask(images),
        Store(str(folder)),
        PrepareSettings(workers=2, items_per_shard=2),
        RunOptions(inline=inline),
    )


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), inline="inline" in sys.argv)
