"""The squares, whose rows workers compute while training goes on; and misbehave on request."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.sixth_task import Batch, Drawn, DrawSquares, Squares, SquareSettings, SquareTask
from torch import nn

from eagleray.task import LossTerm, Record, Resources, Rows, Stage, StepContext


class StreamedSettings(SquareSettings):
    """What the workers do besides."""

    touched: str = ""
    deadly: tuple[int, ...] = ()
    killed_once: str = ""
    killed_rank: str = ""
    """A rank leaves this mark at step 7 and dies; the next one there goes on."""
    seconds: float = 0.0
    memory_gb: float = 0.0


class StreamedSquaresStage(DrawSquares):
    """Leaves a mark for every square that it draws, with the process that did."""

    def __init__(self, settings: StreamedSettings, source: str) -> None:
        super().__init__(settings, source)
        self._more = settings
        self.resources = Resources(
            cpus=0.5, batch_size=2, loader_threads=2, memory_gb=settings.memory_gb
        )

    def process(self, samples: Sequence[Drawn]) -> list[list[Record]]:
        for key, _, _ in samples:
            if self._more.touched:
                with (Path(self._more.touched) / f"{os.getpid()}").open("a") as file:
                    file.write(f"{key}\n")
            number = int(key.rsplit("-", 1)[1])
            if number in self._more.deadly and self.source == "train":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._more.killed_once and number == 5:
                die_once(Path(self._more.killed_once))
            time.sleep(self._more.seconds)
        return super().process(samples)


def die_once(flag: Path) -> None:
    """End this process, unless one has left the mark before."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class ReadingSquares(Squares):
    """Names the rows that it reads."""

    def __init__(self, label: str, rows: Rows) -> None:
        super().__init__(rows)
        self._label = label

    def reads(self, index: int) -> Iterable[tuple[str, str]]:
        return [(self._label, self._keys[index])]


class StreamedTask(SquareTask):
    """The squares."""

    settings_type = StreamedSettings
    settings: StreamedSettings

    def stages(self) -> Sequence[Stage]:
        return [StreamedSquaresStage(self.settings, source) for source in ("train", "val")]

    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Squares:
        return ReadingSquares(f"squares:{source}", rows[f"squares:{source}"])

    def losses(
        self, model: nn.Sequential, batch: Batch, step: StepContext
    ) -> Mapping[str, LossTerm]:
        if self.settings.killed_rank and step.step == 7:
            die_once(Path(self.settings.killed_rank))
        return super().losses(model, batch, step)
