"""Time and memory of planning a stage with a million items: the driver holds offsets, not items.

    python experiments/benchmarks/plan_million.py [--items 1000000]

A process of its own lists, spools, checks and cuts the items, as ``eagleray plan`` does. Budget:
under 10 s and 1 GB (resident memory of that process, the libraries that it imports included).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prettytable import PrettyTable
from record import write_record

from eagleray.prepare import StageFolder, StageRun
from eagleray.prepare.survey import survey
from eagleray.storage import Store
from eagleray.task import Item, Record, Resources, Rows, Settings, Stage

LIMIT_S, LIMIT_MB = 10.0, 1000.0


class ManyImages(Stage):
    """Lists images of a made-up dataset."""

    name = "images"
    schema: Mapping[str, str] = {"size": "int64"}
    resources = Resources(seconds_per_item=0.5)

    def __init__(self, count: int) -> None:
        self._count = count

    def settings(self) -> Settings:
        """Return nothing that matters."""
        return Settings()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the items."""
        for index in range(self._count):
            key = f"scene-{index // 1000:04d}/frame-{index:08d}"
            yield Item(key, f"{index * 7919}:1700000000", {"path": f"images/{key}.png"})

    def load(self, item: Item) -> Any:
        """Refuse: nothing is computed."""
        raise NotImplementedError

    def process(self, samples: Sequence[Any]) -> Sequence[Sequence[Record]]:
        """Refuse: nothing is computed."""
        raise NotImplementedError


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def measure(count: int, folder: str) -> dict[str, Any]:
    """Plan twice (the second time everything is spooled) and return times, memory and sizes."""
    run, before = StageRun(ManyImages(count), StageFolder(Store(folder))), peak_mb()
    seconds, cpu_seconds = [], []
    for _ in range(2):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        work = survey(run, items_per_shard=None, limit=None)
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - cpu_begin)
    sizes = [shard.num_items for shard in work.shards]
    return {
        "items": work.listing.num_items,
        "shards": len(sizes),
        "items_per_shard": [min(sizes), round(count / len(sizes), 1), max(sizes)],
        "seconds": round(seconds[0], 2),
        "cpu_seconds": round(cpu_seconds[0], 2),
        "seconds_again": round(seconds[1], 2),
        "rss_mb_before": round(before, 1),
        "rss_mb_peak": round(peak_mb(), 1),
        "listing_mb": round(
            sum(f.stat().st_size for f in Path(folder).rglob("*.parquet")) / 1e6, 1
        ),
    }


def main() -> None:
    """Measure in a process of its own, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000, help="items to list")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sys.stdout.write(json.dumps(measure(arguments.items, arguments.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--items", str(arguments.items), "--child", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    results = json.loads(done.stdout) | {"limit_s": LIMIT_S, "limit_mb": LIMIT_MB}
    table = PrettyTable(["what", "measured"], align="l")
    table.add_rows([[name, value] for name, value in results.items()])
    print(table)
    met = results["seconds"] <= LIMIT_S and results["rss_mb_peak"] <= LIMIT_MB
    print(f"limits {'met' if met else 'MISSED'}")
    print(write_record("plan_million", results, packages=["pyarrow"]))


if __name__ == "__main__":
    main()
