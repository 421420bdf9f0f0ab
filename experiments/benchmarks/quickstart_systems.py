"""EfficientPS and Seamless on the quickstart's frames, each trained for as much processor time.

    python experiments/benchmarks/quickstart_systems.py --storage FOLDER

Trains both by two workers under DeepSpeed and evaluates them by the official rules, EfficientPS
also with several views (its training draws scales). Processor time is that of the command and of
all processes that it starts, Ray's included, from before the first step; wall time says something
on an idle machine only. What was trained in FOLDER before is not trained again, its times are kept
beside it. EfficientPS is to reach a PQ of 45 and a PQ of things of 12 within 10 minutes on 2 cores,
that is in 1200 seconds of processor time, and several views no less than one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prettytable import PrettyTable
from record import write_record

EXPERIMENTS = Path(__file__).resolve().parents[1]
SYSTEMS = {
    "efficientps_toyworld": (EXPERIMENTS / "efficientps" / "toyworld.yaml", ()),
    # as much processor time: a step of Seamless' network takes 1.5 times that of EfficientPS'
    "seamseg_600": (EXPERIMENTS / "quickstart.yaml", ("--train.phases.0.steps", "600")),
}
BENCHMARKS = {
    "efficientps_toyworld": ("toyworld_val", "toyworld_val_multi_scale"),
    "seamseg_600": ("toyworld_val",),
}
METRICS = ("pq", "pq_things", "pq_stuff", "miou")
BUDGET = {"pq": 45.0, "pq_things": 12.0, "core_seconds": 1200.0}


def timed(command: list[str]) -> dict[str, float]:
    """Run a command; return its wall time, and the processor time of all its descendants."""
    ticks, start = os.sysconf("SC_CLK_TCK"), time.time()
    process = subprocess.Popen(command)
    own, spent, loads = {process.pid}, {}, []
    while process.poll() is None:
        found = _processes()
        size = 0
        while size != len(own):
            size = len(own)
            own |= {pid for pid, (parent, _) in found.items() if parent in own}
        spent |= {pid: found[pid][1] / ticks for pid in own if pid in found}
        loads.append(os.getloadavg()[0])
        time.sleep(1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return {
        "wall_s": time.time() - start,
        "cpu_s": sum(spent.values()),
        "load_mean": sum(loads) / max(1, len(loads)),
    }


def _processes() -> dict[int, tuple[int, int]]:
    """Return parent and clock ticks of every process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            found[int(folder.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    return found


def trained(name: str, storage: Path) -> dict[str, float]:
    """Train one system, unless it was, and return what it took."""
    noted = storage / f"{name}.time.json"
    if not noted.is_file():
        noted.write_text(json.dumps(timed(_command("train", name, storage))))
    times: dict[str, float] = json.loads(noted.read_text())
    return times


def evaluated(name: str, storage: Path) -> dict[str, dict[str, float]]:
    """Evaluate one system; return its metrics by benchmark, in percent."""
    benchmarks = BENCHMARKS[name]
    more = ["--evaluate.benchmarks", *benchmarks]
    subprocess.run([*_command("evaluate", name, storage), *more], check=True)
    (run,) = (storage / "runs" / name).glob("*/evaluation")
    results = {one: json.loads((run / one / "best.json").read_text()) for one in benchmarks}
    return {
        one: {metric: found["values"][metric] for metric in METRICS}
        for one, found in results.items()
    }


def _command(verb: str, name: str, storage: Path) -> list[str]:
    path, settings = SYSTEMS[name]
    program = str(Path(sys.executable).with_name("eagleray"))
    return [program, verb, str(path), "--storage", str(storage), "--name", name, *settings]


def main() -> None:
    """Train, evaluate, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", type=Path, required=True, help="folder of data and runs")
    options = parser.parse_args()
    options.storage.mkdir(parents=True, exist_ok=True)
    table = PrettyTable(["system", "benchmark", "core s", "wall s", "load", *METRICS])
    rows: dict[str, Any] = {}
    for name in SYSTEMS:
        times = trained(name, options.storage)
        found = evaluated(name, options.storage)
        rows[name] = {"training": times, "percent": found}
        spent = [f"{times[key]:.0f}" for key in ("cpu_s", "wall_s", "load_mean")]
        for benchmark, values in found.items():
            table.add_row([name, benchmark, *spent, *(f"{values[m]:.1f}" for m in METRICS)])
    print(table)
    results = {"budget": BUDGET, "systems": rows}
    print("written to", write_record("quickstart_systems", results, packages=["deepspeed", "ray"]))


if __name__ == "__main__":
    main()
