"""What a plain design over Ray Data would lose: items by ``map_batches``, then ``write_parquet``.

    python experiments/benchmarks/plain_ray_data.py [--patience 40]

Forty numbers in ten blocks are squared by two actors. Recorded is: whether two runs write files of
the same names; what is written when one item raises, as it is and with ``max_errored_blocks``; and
how often an item that kills its worker is tried within the patience (seconds), and whether the job
has ended then. The engine's own stages answer the same questions in
``tests/eagleray/prepare/test_ray_pool.py``: equal bytes, one reject, one reject after three deaths.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prettytable import PrettyTable
from record import write_record

from eagleray.scheduling import ray_session

ITEMS, BLOCKS, ODD_ONE = 40, 10, 17


class Square:
    """Squares numbers, and misbehaves at one of them on request.

    Args:
        mode: ``raise`` or ``die`` at the odd one, or nothing.
        deaths: File that grows by one byte per death.
    """

    def __init__(self, mode: str, deaths: str) -> None:
        self._mode, self._deaths = mode, deaths

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Square a batch."""
        if ODD_ONE in batch["item"] and self._mode == "raise":
            raise ValueError("a bad item")
        if ODD_ONE in batch["item"] and self._mode == "die":
            with Path(self._deaths).open("ab") as file:
                file.write(b"x")
            os.kill(os.getpid(), signal.SIGKILL)
        return {"number": batch["item"], "square": batch["item"] ** 2}


def square_all(folder: Path, mode: str = "") -> None:
    """Run the plain pipeline."""
    import ray

    numbers = ray.data.from_items(list(range(ITEMS)), override_num_blocks=BLOCKS)
    numbers.map_batches(
        Square,
        fn_constructor_args=(mode, str(folder.parent / "deaths")),
        batch_size=ITEMS // BLOCKS,
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=0.5,
    ).write_parquet(str(folder))


def rows_of(folder: Path) -> int:
    """Return the number of rows written."""
    return sum(pq.read_table(path).num_rows for path in folder.rglob("*.parquet"))


def measure(folder: Path, patience_s: float) -> dict[str, Any]:
    """Return what the plain pipeline does."""
    import ray.data

    names = []
    for run in ("first", "second"):
        square_all(folder / run)
        names.append({path.name for path in (folder / run).rglob("*.parquet")})
    try:
        square_all(folder / "raised", "raise")
        raised = "the job ended well"
    except Exception as error:
        raised = f"the job ended with {type(error).__name__}"
    ray.data.DataContext.get_current().max_errored_blocks = -1
    square_all(folder / "tolerant", "raise")
    ray.data.DataContext.get_current().max_errored_blocks = 0
    deadly = threading.Thread(target=square_all, args=(folder / "died", "die"), daemon=True)
    deadly.start()
    deadly.join(patience_s)
    return {
        "items": ITEMS,
        "same_file_names_in_two_runs": names[0] == names[1],
        "one_item_raises": raised,
        "rows_then": rows_of(folder / "raised"),
        "rows_with_max_errored_blocks": rows_of(folder / "tolerant"),
        "deaths_by_one_item": (folder / "deaths").stat().st_size,
        "job_goes_on_after_patience": deadly.is_alive(),
        "patience_s": patience_s,
    }


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patience", type=float, default=40.0, help="seconds for a deadly item")
    arguments = parser.parse_args()
    with ray_session(num_cpus=2):
        results = measure(Path(tempfile.mkdtemp()), arguments.patience)
        table = PrettyTable(["what", "measured"], align="l")
        table.add_rows([[name, value] for name, value in results.items()])
        print(table)
        print(write_record("plain_ray_data", results, packages=["ray", "pyarrow"]), flush=True)
        os._exit(0)  # the job with the deadly item never ends by itself


if __name__ == "__main__":
    main()
