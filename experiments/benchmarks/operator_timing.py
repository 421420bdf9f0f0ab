"""Times compiled operators against their twins in PyTorch: processor time of one thread, in turns.

Processor time, so that other work on the machine counts little. Beside the ratio stands what the
operator's access to memory alone takes, measured in the same run: a slow twin flatters nobody.
Results are compared before anything is timed.

    from operator_timing import Accesses, MemoryLimits, Workload, measure, print_table
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from prettytable import PrettyTable
from torch import Tensor
from torch.nn import functional

import eagleray_kernels as kernels

Run = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Accesses:
    """Access of one sample to memory."""

    gathers: tuple[tuple[int, float], ...] = ()
    """(bytes of the table, random reads or writes of it)."""
    rows: tuple[tuple[int, int, float], ...] = ()
    """(rows of the table, floats of a row, random rows read)."""
    stream_bytes: float = 0.0
    """Bytes read and written one after another."""

    def limit_ns(self, limits: MemoryLimits) -> float:
        """Time that the accesses alone take."""
        random = sum(limits.gather_ns(size) * count for size, count in self.gathers)
        random += sum(limits.row_ns(rows, width) * count for rows, width, count in self.rows)
        return random + self.stream_bytes * limits.stream_ns_per_byte()


class MemoryLimits:
    """Speed of memory for one thread, each figure measured at its first use."""

    _NUM_READS = 1_600_000
    _STREAM_BYTES = 64 * 2**20

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.known: dict[int, float] = {}
        self.known_rows: dict[tuple[int, int], float] = {}

    def gather_ns(self, table_bytes: int) -> float:
        """Time of a random read of 8 bytes from a table, as torch.take does it."""
        if table_bytes not in self.known:
            num_rows = max(table_bytes // 8, 1)
            table = torch.zeros(num_rows, dtype=torch.int64)
            rows = torch.randint(0, num_rows, (self._NUM_READS,))
            self.known[table_bytes] = (
                self._best_ms(lambda: (torch.take(table, rows),)) * 1e6 / self._NUM_READS
            )
        return self.known[table_bytes]

    def row_ns(self, num_rows: int, width: int) -> float:
        """Time per random row of a sum of 36 weighted rows, as torch's embedding_bag does it."""
        if (num_rows, width) not in self.known_rows:
            table = torch.zeros(num_rows, width)
            rows = torch.randint(0, num_rows, (self._NUM_READS // 160, 36))
            weights = torch.rand(rows.shape)

            def run() -> tuple[Tensor, ...]:
                return (
                    functional.embedding_bag(rows, table, mode="sum", per_sample_weights=weights),
                )

            self.known_rows[num_rows, width] = self._best_ms(run) * 1e6 / rows.numel()
        return self.known_rows[num_rows, width]

    def stream_ns_per_byte(self) -> float:
        """Time per byte read or written by a copy that no cache holds."""
        if 0 not in self.known:
            source = torch.zeros(self._STREAM_BYTES, dtype=torch.uint8)
            target = torch.empty_like(source)
            moved = 2 * self._STREAM_BYTES
            self.known[0] = self._best_ms(lambda: (target.copy_(source),)) * 1e6 / moved
        return self.known[0]

    def _best_ms(self, run: Run) -> float:
        return min(processor_ms(run) for _ in range(self.repeats + 1))


@dataclass(frozen=True)
class Workload:
    """One operator on one input."""

    name: str
    run: Run
    num_samples: int
    accesses: Accesses
    """What a sample cannot do without."""
    goal: float
    """Ratio to the twin that is asked for."""
    is_exact: bool = False
    """Whether compiled and twin must agree bit for bit."""
    rival: Run | None = None
    """What the compiled operator is measured against where that is not the twin."""


@dataclass(frozen=True)
class Timing:
    """What was measured."""

    name: str
    compiled_ms: float
    twin_ms: float
    ratio: float
    goal: float
    ns_per_sample: float
    memory_ns_per_sample: float
    num_samples: int


def check_agreement(workload: Workload) -> None:
    """Refuse to time what is not the same.

    Raises:
        AssertionError: if compiled and twin differ.
    """
    results = {}
    for choice in ("compiled", "twin"):
        with kernels.implementation(choice):
            results[choice] = workload.run()
    for found, wanted in zip(results["compiled"], results["twin"], strict=True):
        tolerance = 0.0 if workload.is_exact else 1e-4 * float(wanted.abs().max())
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=tolerance)


def processor_ms(run: Run) -> float:
    """Time one run."""
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1e3


def measure(workload: Workload, repeats: int, limits: MemoryLimits) -> Timing:
    """Time compiled and twin in turns; medians."""
    check_agreement(workload)
    times: dict[str, list[float]] = {"compiled": [], "twin": []}
    runs = {"compiled": workload.run, "twin": workload.rival or workload.run}
    for _ in range(repeats):
        for choice, found in times.items():
            with kernels.implementation("compiled" if choice == "compiled" else "twin"):
                # Once untimed: what one run frees the next one gets without asking the system, and
                # the other's data leave the caches.
                runs[choice]()
                found.append(processor_ms(runs[choice]))
    compiled_ms, twin_ms = (statistics.median(found) for found in times.values())
    return Timing(
        name=workload.name,
        compiled_ms=float(f"{compiled_ms:.4g}"),
        twin_ms=float(f"{twin_ms:.4g}"),
        ratio=round(twin_ms / compiled_ms, 1),
        goal=workload.goal,
        ns_per_sample=round(compiled_ms * 1e6 / workload.num_samples, 1),
        memory_ns_per_sample=round(workload.accesses.limit_ns(limits), 1),
        num_samples=workload.num_samples,
    )


def print_table(timings: list[Timing]) -> None:
    """Print one line per workload."""
    table = PrettyTable(
        ["operator", "samples", "compiled ms", "twin ms", "ratio", "goal", "ns/sample", "memory"]
    )
    table.align = "r"
    table.align["operator"] = "l"
    for t in timings:
        table.add_row(
            [
                t.name,
                t.num_samples,
                t.compiled_ms,
                t.twin_ms,
                f"{t.ratio:.1f}x",
                f"{t.goal:.0f}x",
                t.ns_per_sample,
                t.memory_ns_per_sample,
            ]
        )
    print(table)
    print("memory: ns per sample that torch needs for the same accesses to memory alone")
