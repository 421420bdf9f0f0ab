"""A driver of its own process: ``python -m tests.chaos.prepare_job FOLDER MARKS [inline]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.eagleray.stages import NumbersTask, Squares, Sums

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import Record


class Traced(Squares):
    """Squares whose workers leave their process ids."""

    def process(self, samples: Sequence[Any]) -> Sequence[Sequence[Record]]:
        (self.touched / f"pid-{os.getpid()}").touch()
        return super().process(samples)


def stages(marks: Path | None, seconds: float) -> list[Any]:
    kind = Squares if marks is None else Traced
    squares = kind(
        60, bad=[7], raising=[23], files=True, seconds=seconds, touched=marks,
        batch_size=2, loader_threads=2,
    )  # fmt: skip
    return [squares, Sums()]


def prepare(folder: Path, marks: Path | None, *, inline: bool, seconds: float = 0.0) -> None:
    prepare_stages(
        NumbersTask(stages(marks, seconds)),
        Store(str(folder)),
        PrepareSettings(workers=2, items_per_shard=3),
        RunOptions(inline=inline),
    )


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), inline="inline" in sys.argv, seconds=0.05)
