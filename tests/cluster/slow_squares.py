"""The sixth task, as slow as asked, so that a node can be lost in the middle of anything; its
ranks say on which node they are.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field
from tests.sixth_task import Drawn, DrawSquares, SquareSettings, SquareTask
from torch import nn

from eagleray.task import Item, Phase, Record, Settings

_log = logging.getLogger("eagleray.tests")

NODE = "EAGLERAY_TEST_NODE"
"""Environment variable that names a node of ``tests.cluster.strangers``."""


class SlowSettings(SquareSettings):
    """Settings of the squares, and how long things take."""

    item_s: float = Field(0.0, ge=0, description="Seconds per square that is drawn.")
    step_s: float = Field(0.0, ge=0, description="Seconds per training step.")
    batch_size: int = Field(4, ge=1, description="Squares per step.")


class DrawSlowly(DrawSquares):
    """Draws squares, with pauses; rows say nothing of where they were drawn."""

    _settings: SlowSettings

    def process(self, samples: Sequence[Drawn]) -> list[list[Record]]:
        time.sleep(self._settings.item_s * len(samples))
        return super().process(samples)

    def load(self, item: Item) -> Drawn:
        return super().load(item)


class SlowSquareTask(SquareTask):
    """Which texture fills the square, slowly."""

    name, summary = "slow_squares", "Tells two textures apart, slowly."
    settings_type: ClassVar[type[Settings]] = SlowSettings
    settings: SlowSettings
    _said = False

    def stages(self) -> list[DrawSlowly]:
        return [DrawSlowly(self.settings, source) for source in ("train", "val")]

    def phases(self) -> Sequence[Phase]:
        return (Phase(steps=self.settings.steps, batch_size=self.settings.batch_size, lr=0.05),)

    def before_step(self, model: nn.Module, step: Any) -> None:
        if not self._said:
            self._said = True
            _log.warning("trains on node %s from step %d on", os.environ.get(NODE), step.step)
        time.sleep(self.settings.step_s)
