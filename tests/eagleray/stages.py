"""Small stages for the engine's tests, importable by Ray's workers: they square numbers, and
misbehave on request.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eagleray.options import RunOptions
from eagleray.prepare import StageFolder, StageRun, StageSummary, StoredRows, run_stage
from eagleray.storage import Store
from eagleray.task import BaseTask, InputError, Item, Record, Resources, Rows, Settings, Stage


class SquareSettings(Settings):
    """What the results depend on."""

    factor: int = 1
    """Multiplies the squares."""


class Squares(Stage):
    """Squares the numbers ``start`` to ``start + count``.

    Args:
        count: Numbers to square.
        factor: Multiplies the squares; the only setting.
        bad: Numbers that ``load`` refuses.
        raising: Numbers at which ``process`` raises (the whole batch, then the item alone).
        deadly: Numbers at which the process is killed.
        records: Records per item.
        files: Give each record a file.
        seconds: Time that one item takes.
        touched: Folder in which every computed number leaves a mark.
        identities: Identity of single numbers, by default "0".
    """

    name = "squares"
    schema: Mapping[str, str] = {
        "number": "int64",
        "square": "float64",
        "digits": "list<int32>",
        "text": "string",
    }

    def __init__(
        self,
        count: int = 20,
        *,
        start: int = 0,
        source: str = "",
        factor: int = 1,
        bad: Sequence[int] = (),
        raising: Sequence[int] = (),
        deadly: Sequence[int] = (),
        records: int = 1,
        files: bool = False,
        seconds: float = 0.0,
        touched: Path | None = None,
        batch_size: int = 1,
        loader_threads: int = 1,
        identities: Mapping[int, str] | None = None,
        weights: Sequence[Path] = (),
        resources: Resources | None = None,
    ) -> None:
        self.source = source
        self.numbers = range(start, start + count)
        self.factor, self.bad, self.raising, self.deadly = factor, bad, raising, deadly
        self.num_records, self.files, self.seconds = records, files, seconds
        self.touched = touched
        self.identities = identities or {}
        self.weight_files = weights
        self.resources = resources or Resources(
            batch_size=batch_size, loader_threads=loader_threads, cpus=1.0
        )
        self.is_ready = False

    def settings(self) -> Settings:
        return SquareSettings(factor=self.factor)

    def weights(self) -> Sequence[Path]:
        return self.weight_files

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        for number in self.numbers:
            yield Item(f"n{number:05d}", self.identities.get(number, "0"), {"number": number})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        assert not self.is_ready, "a worker is set up once"
        self.is_ready = True

    def load(self, item: Item) -> int:
        number = item.payload["number"]
        if number in self.bad:
            raise InputError(f"{number} is bad")
        return number

    def process(self, samples: Sequence[int]) -> Sequence[Sequence[Record]]:
        if set(samples) & set(self.raising):
            raise InputError(f"cannot square {sorted(set(samples) & set(self.raising))}")
        return [self._records(number) for number in samples]

    def _records(self, number: int) -> list[Record]:
        if self.touched is not None:
            (self.touched / str(number)).touch()
        if number in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seconds:
            time.sleep(self.seconds)
        key = f"n{number:05d}"
        row = {
            "number": number,
            "square": float(self.factor * number**2),
            "digits": [int(digit) for digit in str(abs(number))],
            "text": "x" * (number % 7),
        }
        content = {"notes/square.txt": f"{number**2}".encode()} if self.files else {}
        if self.num_records == 1:
            return [Record(key, row, content)]
        return [Record(f"{key}/{i}", row, content) for i in range(self.num_records)]


class LargeSquares(Squares):
    """Squares with a megabyte each that does not shrink."""

    schema: Mapping[str, str] = {"number": "int64", "content": "binary"}

    def _records(self, number: int) -> list[Record]:
        content = np.random.default_rng(number).bytes(1 << 20)
        return [Record(f"n{number:05d}", {"number": number, "content": content})]


class Sums(Stage):
    """Adds the mean of the first squares to each square; ``finish`` gives the total."""

    name = "sums"
    schema: Mapping[str, str] = {"sum": "float64"}
    upstream = ("squares",)
    fit_items = 4

    def settings(self) -> Settings:
        return Settings()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        yield from (Item(key, "", {}) for key in list(upstream["squares"].keys()))

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        self.squares, self.mean = upstream["squares"], fitted.get("mean")

    def load(self, item: Item) -> tuple[str, float]:
        return item.key, self.squares[item.key]["square"]

    def process(self, samples: Sequence[tuple[str, float]]) -> Sequence[Sequence[Record]]:
        return [[Record(key, {"sum": square + self.mean})] for key, square in samples]

    def fit(self, samples: Iterable[tuple[str, float]]) -> Mapping[str, Any]:
        squares = [square for _, square in samples]
        return {"mean": sum(squares) / len(squares), "seen": len(squares)}

    def finish(self, rows: Rows) -> Mapping[str, Any]:
        return {"total": sum(row["sum"] for row in map(rows.__getitem__, rows.keys()))}


class NumbersTask(BaseTask):
    """A task with given stages and nothing else."""

    name, summary, settings_type = "numbers", "Squares numbers.", Settings

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__(Settings())
        self._stages = stages

    def stages(self) -> Sequence[Stage]:
        return self._stages


def folder_of(place: Path | str) -> StageFolder:
    """Return a stage's folder at a path or URI."""
    return StageFolder(Store(str(place)))


def run(
    stage: Stage, place: Path | str, *, items_per_shard: int | None = None, **options: Any
) -> tuple[StageSummary, StoredRows]:
    """Run one stage without upstream; by default in this process."""
    how = RunOptions(**{"inline": True, **options})
    return run_stage(StageRun(stage, folder_of(place)), how, items_per_shard=items_per_shard)


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files below a stage's folder but the logs and who computed them: relative path
    to content.
    """
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != "code.json"
        and "log" not in path.relative_to(folder).parts
    }
