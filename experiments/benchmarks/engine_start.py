"""How long a user waits before work begins: small jobs, and the first step of the quickstart.

    python experiments/benchmarks/engine_start.py --before REVISION [--repeats 1] [--cases ...]

Each case is a command line in a new storage, once with the code of a revision (in a temporary git
worktree) and once with the code here, in turns. Counted are the seconds until the command ends or,
where it trains, until the first optimizer step is logged, and the CPU seconds of all its processes
up to then, which say more on a busy machine. The lines that the command writes give the seconds of
its parts.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prettytable import PrettyTable
from record import write_record

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("platform", "tasks", "cuda_ops")
POLL_S = 0.25
QUICKSTART = "experiments/quickstart.yaml"
SMALL = (
    "--settings.data.toyworld.train-frames", "50",
    "--settings.data.toyworld.val-frames", "12",
)  # fmt: skip
CASES: dict[str, tuple[str, ...]] = {
    "prepare 62 frames": ("prepare", QUICKSTART, *SMALL),
    "62 frames to the first step": ("run", QUICKSTART, *SMALL, "--train.log-every", "1"),
    "quickstart to the first step": ("run", QUICKSTART, "--train.log-every", "1"),
}


@dataclass
class Waiting:
    """What one command cost until its end or its first step.

    Args:
        seconds: On the wall.
        cpu_s: Of all its processes.
        lines: What it wrote, each with the seconds since its beginning.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, float]:
        """Seconds at which something was first said of each part."""
        found: dict[str, float] = {}
        for when, text in self.lines:
            words = text.split(":")
            if words[0].startswith("+"):
                found.setdefault("prepared", round(when, 1))
            elif len(words) > 1 and any(c.isdigit() for c in words[-1][:4]) and "/" in words[-1]:
                name = ":".join(words[:-1])
                begun = words[-1].strip().startswith("0/")
                found.setdefault(f"{name} {'begins' if begun else 'gets on'}", round(when, 1))
        return found


def wait_for(arguments: tuple[str, ...], source: Path) -> Waiting:
    """Run the command line with the code below a folder, until it ends or has trained a step."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(str(source / top) for top in SOURCES)
    environment.pop("RAY_ADDRESS", None)
    waiting, begin = Waiting(), time.monotonic()
    with tempfile.TemporaryDirectory() as storage:
        command = [sys.executable, "-c", "from eagleray.cli.main import main; main()", *arguments]
        process = subprocess.Popen(
            [*command, "--storage", storage],
            cwd=source,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reader = threading.Thread(target=_read, args=(process, begin, waiting), daemon=True)
        reader.start()
        cpu: dict[int, float] = {}
        try:
            while process.poll() is None and not _has_stepped(Path(storage)):
                _count(process.pid, cpu)
                time.sleep(POLL_S)
            waiting.seconds, waiting.cpu_s = time.monotonic() - begin, sum(cpu.values())
        finally:
            _end(process)
            reader.join()
    if arguments[0] == "prepare" and process.returncode:
        raise RuntimeError("\n".join(text for _, text in waiting.lines))
    return waiting


def _read(process: subprocess.Popen[str], begin: float, waiting: Waiting) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        waiting.lines.append((time.monotonic() - begin, line.rstrip()))


def _has_stepped(storage: Path) -> bool:
    for path in storage.glob("runs/*/*/log/live.json"):
        try:
            return bool(json.loads(path.read_text())["step"] >= 1)
        except (OSError, ValueError):
            return False
    return False


def _count(pid: int, cpu: dict[int, float]) -> None:
    """Note the CPU seconds of a process and all below it; those that have ended keep theirs."""
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            times = process.cpu_times()
            cpu[process.pid] = times.user + times.system
    except psutil.Error:
        return


def _end(process: subprocess.Popen[str]) -> None:
    """End the command with everything that it has started."""
    if process.poll() is None:
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        for child in below:
            if child.is_running():
                child.kill()
    process.wait()


def measure(source: Path, repeats: int, cases: list[str]) -> dict[str, dict[str, list[Waiting]]]:
    """Return what each case cost with the code of ``source`` and with the code here."""
    found: dict[str, dict[str, list[Waiting]]] = {
        case: {"before": [], "after": []} for case in cases
    }
    for case in cases:
        for _ in range(repeats):
            for name, root in (("before", source), ("after", ROOT)):
                waiting = wait_for(CASES[case], root)
                found[case][name].append(waiting)
                print(f"{case}, {name}: {waiting.seconds:.1f} s, {waiting.cpu_s:.1f} CPU s")
                print(f"  {waiting.parts}", flush=True)
    return found


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default="bec86d4", help="revision to compare with")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "before"
        subprocess.run([*git, "add", "--detach", "-q", source, arguments.before], check=True)
        try:
            found = measure(source, arguments.repeats, arguments.cases)
        finally:
            subprocess.run([*git, "remove", "--force", source], check=True)
    table = PrettyTable(
        ["case", "before s", "after s", "before CPU s", "after CPU s", "ratio", "CPU ratio"]
    )
    results: dict[str, Any] = {"before": arguments.before}
    for case, ways in found.items():
        seconds = {w: statistics.median(t.seconds for t in ts) for w, ts in ways.items()}
        cpu_s = {w: statistics.median(t.cpu_s for t in ts) for w, ts in ways.items()}
        ratio = seconds["after"] / seconds["before"]
        cpu_ratio = cpu_s["after"] / cpu_s["before"]
        table.add_row(
            [
                case,
                *(f"{v:.1f}" for v in (*seconds.values(), *cpu_s.values())),
                f"{ratio:.2f}",
                f"{cpu_ratio:.2f}",
            ]
        )
        results[case] = {
            "before_s": round(seconds["before"], 1),
            "after_s": round(seconds["after"], 1),
            "before_cpu_s": round(cpu_s["before"], 1),
            "after_cpu_s": round(cpu_s["after"], 1),
            "ratio": round(ratio, 3),
            "cpu_ratio": round(cpu_ratio, 3),
            "parts_before_s": ways["before"][-1].parts,
            "parts_after_s": ways["after"][-1].parts,
        }
    print(table)
    print(write_record("engine_start", results, packages=["ray", "deepspeed"]))


if __name__ == "__main__":
    main()
