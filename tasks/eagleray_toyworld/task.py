"""The task ``toyworld``: it makes labeled data and trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from eagleray.task import BaseTask, Stage
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.stage import world_stages


class ToyworldTask(BaseTask):
    """Street scenes and rooms with exact truth, in the formats that other tasks read.

    ``eagleray prepare`` is its only verb: ``settings.folder`` then holds a dataset that the tasks
    of the published systems read like any other.
    """

    name: ClassVar[str] = "toyworld"
    summary: ClassVar[str] = "Generates street scenes and rooms with exact truth (prepare only)."
    settings_type: ClassVar[type[WorldSettings]] = WorldSettings
    settings: WorldSettings

    def stages(self) -> Sequence[Stage]:
        """Return one stage per split."""
        return world_stages(self.settings)
