"""Two raylets on one machine, of which the second has too little memory for the stage's worker:
``python -m tests.eagleray.prepare.two_machines_job FOLDER`` prints where items were loaded, and
how long the device waited.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import tests.conftest  # noqa: F401  (the environment that Ray is started in)
from ray.cluster_utils import Cluster
from tests.eagleray.stages import NumbersTask, Squares

from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.prepare.row_pool import row_pool
from eagleray.storage import Store
from eagleray.task import Item, Record, Resources

COUNT, LOAD_S, PROCESS_S = 48, 0.5, 0.1


class Decoded(Squares):
    """Squares whose loading takes longer than the device; processes leave their machine's id (the
    process id of the raylet above them).
    """

    def load(self, item: Item) -> int:
        (self.touched / f"loaded-{os.getppid()}").touch()
        time.sleep(LOAD_S)
        return super().load(item)

    def process(self, samples: Sequence[Any]) -> Sequence[Sequence[Record]]:
        (self.touched / f"computed-{os.getppid()}").touch()
        return super().process(samples)


class Told:
    """Progress that keeps the last it was told of waiting."""

    def __init__(self) -> None:
        self.waits = 0.0

    def start(self, title: str, total: int) -> None: ...

    def advance(self, units: int = 1, **info: Any) -> None:
        self.waits = info["waits_for_loads"]

    def note(self, text: str) -> None: ...

    def finish(self) -> None: ...


def stage_at(folder: Path) -> Decoded:
    marks = folder.with_name(f"{folder.name}-marks")
    marks.mkdir()
    resources = Resources(cpus=1, memory_gb=1.0, loader_threads=1)
    return Decoded(COUNT, touched=marks, seconds=PROCESS_S, resources=resources)


def places(stage: Decoded) -> dict[str, list[str]]:
    marks = stage.touched
    return {
        "loaded_on": sorted(p.name for p in marks.glob("loaded-*")),
        "computed_on": sorted(p.name for p in marks.glob("computed-*")),
    }


def stream(folder: Path, remote_loads: int) -> dict[str, Any]:
    """All rows by a pool of one worker, with the seconds that they took."""
    stage = stage_at(folder)
    settings = PrepareSettings(workers=1, materialise="streamed", remote_loads=remote_loads)
    options = RunOptions(device="cpu")
    prepared = prepare_stages(NumbersTask([stage]), Store(str(folder)), settings, options)
    with row_pool(prepared.rows, options, workers=1) as pool:
        rows = pool.rows["squares"]
        begin, keys = time.perf_counter(), list(rows.keys())
        rows.ask(keys)
        squares = [rows[key]["square"] for key in keys]
        return {"took_s": time.perf_counter() - begin, "squares": squares, **places(stage)}


def prepare(folder: Path, remote_loads: int) -> dict[str, Any]:
    stage, told = stage_at(folder), Told()
    prepare_stages(
        NumbersTask([stage]),
        Store(str(folder)),
        PrepareSettings(workers=1, items_per_shard=COUNT, remote_loads=remote_loads),
        RunOptions(device="cpu", progress=told),
    )
    lines = [json.loads(x) for p in folder.rglob("log/*") for x in p.read_text().splitlines()]
    return {
        "waited_s": sum(line["waited_for_loads_s"] for line in lines),
        "shown": told.waits,
        **places(stage),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    store = 100_000_000
    cluster = Cluster(
        initialize_head=True,
        connect=True,
        head_node_args={
            "num_cpus": 1,
            "memory": 2_000_000_000,
            "object_store_memory": store,
            "include_dashboard": False,
        },
    )
    cluster.add_node(num_cpus=2, memory=200_000_000, object_store_memory=store)
    cluster.wait_for_nodes()
    try:
        found = {
            "alone": prepare(folder / "alone", 0),
            "helped": prepare(folder / "helped", 4),
            "streamed_alone": stream(folder / "streamed_alone", 0),
            "streamed": stream(folder / "streamed", 4),
        }
    finally:
        ray.shutdown()
        cluster.shutdown()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
