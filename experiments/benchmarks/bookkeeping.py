"""What a stage of many shards costs beside its work, on storage that takes its time to answer.

    python experiments/benchmarks/bookkeeping.py [--shards 100000] [--latency-ms 20]

All shards are committed, as they stand after a driver was killed at the very end: the same command
looks up what is done, reads markers and keys, and writes the manifest. The storage is a dictionary
in memory of which every request waits; a listing waits once per 1,000 names, as an S3 does. Then
the same again, which finds the manifest.
"""

from __future__ import annotations

import argparse
import resource
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
from fsspec.implementations.memory import MemoryFileSystem
from prettytable import PrettyTable
from record import write_record

from eagleray.options import RunOptions
from eagleray.prepare import StageFolder, StageRun, run_stage
from eagleray.prepare.columns import arrow_schema, to_parquet
from eagleray.prepare.marker import ShardMarker
from eagleray.prepare.survey import survey
from eagleray.storage import Store
from eagleray.task import Item, Record, Rows, Settings, Stage

ITEMS_PER_SHARD = 4
_NAMES_PER_LISTING = 1000


class DistantFileSystem(MemoryFileSystem):
    """Files in memory, of which each request waits; counts requests."""

    protocol = "distant"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    latency_s: ClassVar[float] = 0.0
    requests: ClassVar[int] = 0
    _counting = threading.Lock()

    @classmethod
    def wait(cls, times: int = 1) -> None:
        """Let a request wait."""
        with cls._counting:
            DistantFileSystem.requests += times
        time.sleep(cls.latency_s * times)

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Read a file."""
        self.wait()
        return super().cat_file(path, *args, **kwargs)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file."""
        self.wait()
        if mode == "create" and self._strip_protocol(path) in self.store:
            raise FileExistsError(path)
        super().pipe_file(path, value, **kwargs)

    def find(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """List files."""
        start = self._strip_protocol(path).rstrip("/") + "/"
        found = [p for p in self.store if p.startswith(start)]
        if maxdepth == 1:
            found = [p for p in found if "/" not in p[len(start) :]]
        self.wait(1 + len(found) // _NAMES_PER_LISTING)
        return sorted(found)


class OneNumber(Stage[int, list[Record]]):
    """A stage of one row per item."""

    name = "numbers"
    schema: Mapping[str, str] = {"number": "int64"}

    def __init__(self, count: int) -> None:
        self._count = count

    def settings(self) -> Settings:
        """Return that nothing can be set."""
        return Settings()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """Yield the numbers."""
        for number in range(self._count):
            yield Item(f"{number:08d}", "1", {"number": number})

    def load(self, item: Item) -> int:
        """Return an item's number."""
        return int(item.payload["number"])

    def process(self, samples: Sequence[int]) -> list[list[Record]]:
        """Return one row per number."""
        return [[Record(f"{n:08d}", {"number": n})] for n in samples]


def commit_all(run: StageRun) -> int:
    """Commit all shards of a stage as its workers would; return their number."""
    work = survey(run, items_per_shard=ITEMS_PER_SHARD, limit=None)
    schema = arrow_schema(run.stage.schema)
    for shard in work.shards:
        numbers = list(range(shard.start, shard.start + shard.num_items))
        keys = [f"{number:08d}" for number in numbers]
        content = to_parquet([pa.Table.from_arrays([keys, keys, numbers], schema=schema)], schema)
        size = shard.num_items
        marker = ShardMarker.of(shard.id, content, items=size, rows=size, rejected=(), files=())
        run.folder.commit_shard(marker, content)
    return len(work.shards)


def measure(items: int, latency_s: float) -> dict[str, Any]:
    """Return seconds, CPU seconds and requests of each call."""
    fsspec.register_implementation("distant", DistantFileSystem, clobber=True)
    run = StageRun(OneNumber(items), StageFolder(Store("distant://bookkeeping/stage")))
    found: dict[str, Any] = {"shards": commit_all(run), "latency_ms": 1e3 * latency_s}
    DistantFileSystem.latency_s = latency_s
    for call in ("finish", "again"):
        DistantFileSystem.requests = 0
        begin, cpu = time.perf_counter(), time.process_time()
        options = RunOptions(inline=True)
        summary, rows = run_stage(run, options, items_per_shard=ITEMS_PER_SHARD)
        if (summary.computed_shards, len(rows)) != (0, items):
            raise RuntimeError(f"{summary.computed_shards} shards were computed again")
        found[call] = {
            "seconds": time.perf_counter() - begin,
            "cpu_s": time.process_time() - cpu,
            "requests": DistantFileSystem.requests,
        }
    one_by_one_s = found["finish"]["requests"] * latency_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**found, "waiting_one_by_one_s": one_by_one_s, "peak_memory_mb": peak}


def main() -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=100_000, help="about how many")
    parser.add_argument("--latency-ms", type=float, default=20.0)
    arguments = parser.parse_args()
    found = measure(ITEMS_PER_SHARD * arguments.shards, arguments.latency_ms / 1e3)
    table = PrettyTable(["call", "seconds", "CPU s", "requests"])
    for call in ("finish", "again"):
        values = found[call]
        table.add_row(
            [call, f"{values['seconds']:.1f}", f"{values['cpu_s']:.1f}", values["requests"]]
        )
    print(table)
    write_record("bookkeeping", found, packages=["fsspec", "pyarrow"])


if __name__ == "__main__":
    main()
