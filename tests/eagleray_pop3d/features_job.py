"""Key frames and features in a process of its own, slow enough to be killed at any moment:
``python -m tests.eagleray_pop3d.features_job RIG STORAGE``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.eagleray_pop3d.test_data_stages import DataOnly, DataSettingsOfTask

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import Item, Record, Stage
from eagleray_pop3d.data_settings import DataSettings, FeatureSettings, SourceSettings
from eagleray_pop3d.stages import FeatureStage, KeyFrameStage

PAUSE_S = 0.05


class SlowKeyFrames(KeyFrameStage):
    """Key frames that take their time."""

    def load(self, item: Item) -> Any:
        time.sleep(PAUSE_S)
        return super().load(item)


class SlowFeatures(FeatureStage):
    """Features that take their time."""

    def process(self, samples: Sequence[Any]) -> list[Record]:
        time.sleep(PAUSE_S)
        return super().process(samples)


class Slow(DataOnly):
    """Both."""

    def stages(self) -> Sequence[Stage]:
        data, features = self.settings.data, self.settings.features
        return [SlowKeyFrames(data, "train"), SlowFeatures(data, features, "train")]


def prepare(rig: Path, storage: Path, kind: type[DataOnly] = DataOnly) -> None:
    """Prepare the rig's key frames one by one, with a codebook fitted on five of them."""
    source = SourceSettings(split="own", folder="frames")
    data = DataSettings(format="frames", root=str(rig), train=source)
    folder = str(rig / "features")
    stored = FeatureSettings(extractor="files", folder=folder, codec="opq4", fit_frames=5)
    prepare_stages(
        kind(DataSettingsOfTask(data=data, features=stored)),
        Store(str(storage)),
        PrepareSettings(items_per_shard=1),
        RunOptions(device="cpu", inline=True),
    )


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), Slow)
