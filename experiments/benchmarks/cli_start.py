"""How long the command line is silent: seconds to its first visible line, before and now.

    python experiments/benchmarks/cli_start.py --before REVISION [--repeats 3]

Each command is started with the code of a revision (in a temporary git worktree) and with the code
here, in turns, in an empty folder; it is ended at its first line. Counted are seconds on the wall,
and the CPU seconds of the process up to then, which say more on a busy machine. Medians; the first
start of each, which fills the disk's cache, is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import psutil
from prettytable import PrettyTable
from record import write_record

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("platform", "tasks", "cuda_ops")
START = "from eagleray.cli.main import main; main()"
QUICKSTART = str(ROOT / "experiments" / "quickstart.yaml")
CASES: dict[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "train --help": ("train", "--help"),
    "show": ("show",),
    "plan EXPERIMENT": ("plan", QUICKSTART),
    "run EXPERIMENT": ("run", QUICKSTART),
    "tasks": ("tasks",),
    "dashboard": ("dashboard", "--port", "0"),
    "list": ("list",),
}
ONLY_NOW = ("list",)


def first_line(code: Path, arguments: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Return seconds on the wall and of CPU until a command's first line."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(code / top) for top in SOURCES),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    stream: IO[bytes] | None = process.stdout
    assert stream is not None
    line = stream.readline()
    seconds = time.perf_counter() - begin
    try:
        used = psutil.Process(process.pid).cpu_times()
        cpu_s = used.user + used.system
    finally:
        process.kill()
        process.wait()
    if not line.strip():
        raise RuntimeError(f"{' '.join(arguments)} wrote nothing")
    return seconds, cpu_s


def measure(code: Path, arguments: tuple[str, ...], repeats: int) -> dict[str, float]:
    """Return the medians of some starts after a first one."""
    with tempfile.TemporaryDirectory() as folder:
        taken = [first_line(code, arguments, Path(folder)) for _ in range(repeats + 1)][1:]
    return {
        "first_line_s": round(statistics.median(one[0] for one in taken), 3),
        "first_line_cpu_s": round(statistics.median(one[1] for one in taken), 3),
    }


def main() -> None:
    """Measure, print the table and write the record."""
    parser = argparse.ArgumentParser(description="Seconds to the first visible line.")
    parser.add_argument("--before", required=True, help="git revision to compare with")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(old), options.before], check=True)
        try:
            for name, arguments in CASES.items():
                both = {"now": measure(ROOT, arguments, options.repeats)}
                if name not in ONLY_NOW:
                    both["before"] = measure(old, arguments, options.repeats)
                results[name] = both
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
    table = PrettyTable(["command", "before s", "now s", "before CPU s", "now CPU s"])
    for name, both in results.items():
        before, now = both.get("before", {}), both["now"]
        walls = (before.get("first_line_s", "-"), now["first_line_s"])
        table.add_row([name, *walls, before.get("first_line_cpu_s", "-"), now["first_line_cpu_s"]])
    print(table)
    print(write_record("cli_start", {"before": options.before, "commands": results}))


if __name__ == "__main__":
    main()
