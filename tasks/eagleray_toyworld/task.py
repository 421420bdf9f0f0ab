"""The task ``toyworld``: it makes labeled data and trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from torch import nn

from eagleray.task import (
    Batches,
    Dataset,
    LossTerm,
    Phase,
    Rows,
    SettingsError,
    Stage,
    StepContext,
    Task,
)
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.stage import world_stages


class ToyworldTask(Task):
    """Street scenes and rooms with exact truth, in the formats that other tasks read.

    ``eagleray prepare`` is its only verb: ``settings.folder`` then holds a dataset that the tasks
    of the published systems read like any other.
    """

    name: ClassVar[str] = "toyworld"
    summary: ClassVar[str] = "Generates street scenes and rooms with exact truth (prepare only)."
    settings_type: ClassVar[type[WorldSettings]] = WorldSettings

    def stages(self) -> Sequence[Stage]:
        """Return one stage per split."""
        return world_stages(self.settings)

    def phases(self) -> Sequence[Phase]:
        """Return nothing: there is no training."""
        return ()

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset | Batches:
        """Refuse: the data are read by other tasks."""
        _refuse(f"data {source!r} for training")

    def build(self) -> nn.Module:
        """Refuse: there is no model."""
        _refuse("a model")

    def losses(self, model: nn.Module, batch: Any, step: StepContext) -> Mapping[str, LossTerm]:
        """Refuse: there is no training."""
        _refuse("losses")


def _refuse(what: str) -> NoReturn:
    raise SettingsError(
        f"task 'toyworld' has no {what}: it only makes data. Run `eagleray prepare` with "
        "settings.folder set, then name that folder as the data of another task"
    )
