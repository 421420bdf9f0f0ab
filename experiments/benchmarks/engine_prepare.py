"""Overhead of prepare against a plain loop over the same work, and its scaling over two workers.

    python experiments/benchmarks/engine_prepare.py [--units 400] [--seconds 0.05] [--repeats 3]

Units are single-threaded CPU work of about 50 ms. What is compared is the time from the beginning
of the first unit to the moment at which the last one is done (in the engine: committed and known to
the driver), so start-up is left out on both sides. Loops, pools and engine take turns, so that a
change in the machine's load meets all of them; the medians of the ratios within a turn count. On a
busy machine the CPU time of the worker process against that of its units says more.

Budgets: one worker at most 5 % slower than the loop; two workers at least 0.95 of the speed-up that
``multiprocessing`` reaches in the same turn.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path])

from busy_stage import Busy, rounds_for, work  # noqa: E402
from prettytable import PrettyTable  # noqa: E402
from record import write_record  # noqa: E402

from eagleray.options import RunOptions  # noqa: E402
from eagleray.prepare import StageFolder, StageRun, run_stage  # noqa: E402
from eagleray.progress import Silent  # noqa: E402
from eagleray.scheduling import ray_session  # noqa: E402
from eagleray.storage import Store  # noqa: E402

LIMIT_OVERHEAD, LIMIT_SCALING = 0.05, 0.95


class Clock(Silent):
    """Progress that remembers when the last shard came."""

    last_s = 0.0

    def advance(self, units: int = 1, **info: object) -> None:
        """Note the time."""
        self.last_s = time.time()


def loop_s(units: int, rounds: int) -> float:
    """Return the seconds of a plain loop."""
    begin = time.perf_counter()
    for _ in range(units):
        work(rounds)
    return time.perf_counter() - begin


def pool_s(units: int, rounds: int, workers: int) -> float:
    """Return the seconds of ``multiprocessing`` once its processes run."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(work, [1] * workers, chunksize=1)
        begin = time.perf_counter()
        pool.map(work, [rounds] * units, chunksize=1)
        return time.perf_counter() - begin


def engine_s(
    units: int, rounds: int, seconds: float, workers: int, *, inline: bool
) -> tuple[float, float]:
    """Return the seconds of the engine from the first unit's beginning on; and how much more CPU
    time than the units its worker used (of one worker, as a fraction).
    """
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        stage = Busy(units, rounds, seconds)
        run = StageRun(stage, StageFolder(Store(folder)))
        _, rows = run_stage(run, RunOptions(workers=workers, inline=inline, progress=clock))
        found = list(map(rows.__getitem__, rows.keys()))
    first = min(row["begin_s"] for row in found)
    process = max(r["process_end_s"] for r in found) - min(r["process_begin_s"] for r in found)
    return clock.last_s - first, process / sum(row["cpu_s"] for row in found) - 1


def turn(units: int, rounds: int, seconds: float) -> dict[str, float]:
    """Return the seconds of each way to do the work, once."""
    loop_before = loop_s(units, rounds)
    inline, _ = engine_s(units, rounds, seconds, 1, inline=True)
    one_worker, more_cpu = engine_s(units, rounds, seconds, 1, inline=False)
    loop_after = loop_s(units, rounds)
    pool = pool_s(units, rounds, 2)
    two_workers, _ = engine_s(units, rounds, seconds, 2, inline=False)
    return {
        "loop": statistics.mean([loop_before, loop_after]),
        "engine, inline": inline,
        "engine, 1 worker": one_worker,
        "pool, 2 workers": pool,
        "engine, 2 workers": two_workers,
        "more CPU time, 1 worker": more_cpu,
    }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=400, help="units of work")
    parser.add_argument("--seconds", type=float, default=0.05, help="seconds per unit")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    arguments = parser.parse_args()
    rounds = rounds_for(arguments.seconds)
    with ray_session(num_cpus=2):
        turns = [turn(arguments.units, rounds, arguments.seconds) for _ in range(arguments.repeats)]
    median = {name: statistics.median(t[name] for t in turns) for name in turns[0]}
    table = PrettyTable(["way", "seconds (median)", "ms per unit"], align="r")
    for name, seconds in list(median.items())[:-1]:
        table.add_row([name, f"{seconds:.2f}", f"{1000 * seconds / arguments.units:.2f}"])
    print(table)
    overhead = [t["engine, 1 worker"] / t["loop"] - 1 for t in turns]
    inline = [t["engine, inline"] / t["loop"] - 1 for t in turns]
    scaling = [t["pool, 2 workers"] / t["engine, 2 workers"] for t in turns]
    results = {
        "units": arguments.units,
        "seconds_per_unit": arguments.seconds,
        "turns_s": [{k: round(v, 3) for k, v in t.items()} for t in turns],
        "overhead_1_worker": round(statistics.median(overhead), 4),
        "overhead_1_worker_cpu_time": round(median["more CPU time, 1 worker"], 4),
        "overhead_inline": round(statistics.median(inline), 4),
        "scaling_against_multiprocessing": round(statistics.median(scaling), 4),
        "limit_overhead": LIMIT_OVERHEAD,
        "limit_scaling": LIMIT_SCALING,
    }
    met = (
        results["overhead_1_worker"] <= LIMIT_OVERHEAD
        and results["scaling_against_multiprocessing"] >= LIMIT_SCALING
    )
    print(f"{results}\nlimits {'met' if met else 'MISSED'}")
    print(write_record("engine_prepare", results, packages=["ray", "pyarrow"]))


if __name__ == "__main__":
    main()
