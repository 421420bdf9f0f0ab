"""What streaming costs beside computing rows in the reading process, and what it holds in memory.

    python experiments/benchmarks/streamed_rows.py [--items 200] [--seconds 0.05] [--kilobytes 200]

The stage sleeps for as long as a device would take, so that the time that is compared is that of
the device and a busy machine disturbs little; the CPU seconds of reader and worker are given beside
it. Then a reader that is slower than a pool of two asks for its rows ahead: how long it waits, and
how much of the object store is in use, step by step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from prettytable import PrettyTable
from record import write_record
from slow_rows import SlowRows

from eagleray.options import RunOptions
from eagleray.prepare import ComputedRows, StageFolder, StageRun
from eagleray.prepare.row_pool import row_pool
from eagleray.prepare.streamed import StreamedRows
from eagleray.scheduling import LazySession
from eagleray.storage import Store

AHEAD = 8
"""Rows asked for before they are read."""
TURNS = 3
"""The two ways take turns, and the fastest of each counts."""


def read_all(rows: ComputedRows, keys: Sequence[str], pause_s: float = 0.0) -> dict[str, Any]:
    """Read rows in order, asking ahead; return seconds in all, of waiting and of CPU, and how much
    of the store is used every 20 rows.
    """
    waited, used = 0.0, []
    begin, cpu = time.perf_counter(), time.process_time()
    for position, key in enumerate(keys):
        rows.ask(keys[position : position + AHEAD])
        since = time.perf_counter()
        rows[key]
        waited += time.perf_counter() - since
        time.sleep(pause_s)
        if pause_s and position % 20 == 0:
            used.append(store_bytes())
    return {
        "seconds": time.perf_counter() - begin,
        "waited_s": waited,
        "cpu_s": time.process_time() - cpu,
        "store_bytes": used,
    }


def store_bytes() -> int:
    """Return how many bytes of the object store are in use."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return int(get_memory_info_reply(state).store_stats.object_store_bytes_used)


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure both ways in turns, then a slow reader."""
    stage = SlowRows(arguments.items, arguments.seconds, arguments.kilobytes * 1000)
    run = StageRun(stage, StageFolder(Store(str(folder))))
    inline = RunOptions(inline=True)
    keys = [f"{n:05d}" for n in range(arguments.items)]
    here, streamed = [], []
    for _ in range(TURNS):
        here.append(read_all(ComputedRows.open(run, inline, 0.0), keys))
        open_rows = {"slow": StreamedRows.open(run, inline, 0.0)}
        with row_pool(open_rows, RunOptions(), workers=1) as pool:
            rows = pool.rows["slow"]
            assert isinstance(rows, StreamedRows)
            rows[keys[0]]  # the worker is set up
            streamed.append(read_all(rows, keys))
    with row_pool({"slow": StreamedRows.open(run, inline, 0.0)}, RunOptions(), workers=2) as pool:
        rows = pool.rows["slow"]
        assert isinstance(rows, StreamedRows)
        rows[keys[0]]
        many = (keys * (arguments.steps // len(keys) + 1))[: arguments.steps]
        slow = read_all(rows, many, pause_s=1.5 * arguments.seconds)
    best_here, best_streamed = (min(one, key=lambda r: r["seconds"]) for one in (here, streamed))
    row_bytes = arguments.kilobytes * 1000
    return {
        "items": arguments.items,
        "unit_ms": 1e3 * arguments.seconds,
        "row_bytes": row_bytes,
        "ahead": AHEAD,
        "here_s": best_here["seconds"],
        "streamed_s": best_streamed["seconds"],
        "streamed_over_here": best_streamed["seconds"] / best_here["seconds"],
        "reader_cpu_ms_per_row_here": 1e3 * best_here["cpu_s"] / arguments.items,
        "reader_cpu_ms_per_row_streamed": 1e3 * best_streamed["cpu_s"] / arguments.items,
        "slow_reader_steps": len(many),
        "slow_reader_waits": slow["waited_s"] / slow["seconds"],
        "store_bytes": slow["store_bytes"],
        "store_bytes_at_most": max(slow["store_bytes"]),
        "store_bytes_allowed": 1.5 * AHEAD * row_bytes,
    }


def main() -> None:
    """Measure, show and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LazySession() as session:
        session.start()
        results = compare(arguments, Path(folder))
    table = PrettyTable(("what", "value"), align="l")
    shown = {k: v for k, v in results.items() if not isinstance(v, list)}
    table.add_rows([(k, f"{v:.4g}" if isinstance(v, float) else v) for k, v in shown.items()])
    print(table)
    write_record("streamed_rows", results, packages=["ray", "pyarrow"])


if __name__ == "__main__":
    main()
