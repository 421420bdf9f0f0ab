"""Time and memory of the EfficientPS fusion at 1024 x 2048.

40 instances, from the semantic head's logits: beside the bilinear enlargement of its 19 maps alone,
at most 2 times. From full-size logits: beside numpy's argmax over them, at most 1.2 times. The work
takes turns in one process on one thread, and CPU time is measured. 100 instances need less than
300 MB above the inputs (the original's way, masks of all classes at full size: 7.5 GB).

Run: ``python experiments/benchmarks/efficientps_fusion.py``
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import prettytable
import torch
from record import write_record
from torch import Tensor
from torch.nn import functional as F

from eagleray_efficientps.fusion import FusionRule, enlarged_logits, fuse_logits

SIZE, STRIDE = (1024, 2048), 4
NUM_STUFF, NUM_THING = 11, 8
BUDGETS = {"from head logits": 2.0, "from full-size logits": 1.2}
MEMORY_BUDGET_MB = 300


def street(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return logits in patches, and boxes, things, scores and mask logits of some instances."""
    random = torch.Generator().manual_seed(0)
    patches = torch.randn(NUM_STUFF + NUM_THING, 32, 64, generator=random)
    logits = patches.repeat_interleave(8, 1).repeat_interleave(8, 2)
    logits = logits + 0.1 * torch.randn(logits.shape, generator=random)
    logits[:NUM_STUFF] += 1  # trained networks are sure of some stuff class nearly everywhere
    corner = torch.rand(count, 2, generator=random) * torch.tensor([1900.0, 900.0])
    extent = 40 + torch.rand(count, 2, generator=random) ** 2 * torch.tensor([500.0, 300.0])
    far = torch.minimum(corner + extent, torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0]))
    things = torch.randint(0, NUM_THING, (count,), generator=random)
    masks = 2 * torch.randn(count, 28, 28, generator=random)
    return logits, torch.cat([corner, far], 1), things, torch.rand(count, generator=random), masks


def fuse(logits: Tensor, *detections: Tensor) -> None:
    """Fuse at full size."""
    fuse_logits(logits, *detections, size_hw=SIZE, num_stuff=NUM_STUFF, rule=FusionRule())


def shortest(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the least CPU seconds of each function; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):  # the first turn warms up
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: min(found[1:]) for name, found in seconds.items()}


def peak_mb() -> float:
    """Return the process's largest resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    many = street(100)
    before = peak_mb()
    fuse(*many)
    memory = peak_mb() - before

    logits, *detections = street(40)
    full = enlarged_logits(logits, SIZE)
    array = full.numpy()
    seconds = shortest(
        {
            "enlargement alone": lambda: F.interpolate(logits[None], SIZE, mode="bilinear"),
            "from head logits": lambda: fuse(logits, *detections),
            "numpy argmax": lambda: array.argmax(0),
            "from full-size logits": lambda: fuse(full, *detections),
        },
        options.repeats,
    )
    references = {"from head logits": "enlargement alone", "from full-size logits": "numpy argmax"}
    rows: dict[str, dict[str, Any]] = {
        name: {
            "cpu_s": seconds[name],
            "reference": reference,
            "reference_cpu_s": seconds[reference],
            "ratio": seconds[name] / seconds[reference],
            "budget_ratio": BUDGETS[name],
        }
        for name, reference in references.items()
    }
    table = prettytable.PrettyTable(
        ["fusion of 40", "CPU s", "beside", "its CPU s", "ratio", "budget"]
    )
    for name, row in rows.items():
        table.add_row(
            [
                name,
                f"{row['cpu_s']:.3f}",
                row["reference"],
                f"{row['reference_cpu_s']:.3f}",
                f"{row['ratio']:.2f}",
                row["budget_ratio"],
            ]
        )
    print(table)
    print(f"100 instances: {memory:.0f} MB above the inputs (budget {MEMORY_BUDGET_MB})")
    results = {
        "size_hw": SIZE,
        "stride": STRIDE,
        "threads": 1,
        "fusion": rows,
        "peak_mb": {"instances": 100, "measured": memory, "budget": MEMORY_BUDGET_MB},
    }
    print("written to", write_record("efficientps_fusion", results))


if __name__ == "__main__":
    main()
