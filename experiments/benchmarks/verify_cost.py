"""What comparing checksums at the first read adds to reading and decoding.

    python experiments/benchmarks/verify_cost.py [--images 40]

A stage of photographs (1024 x 2048 pixels, PNG, as Cityscapes has them) with a row each is read and
decoded once with checksums compared and once without, in turn, five times; the medians are
recorded, in CPU seconds of this process, so that other work on the machine does not count. The aim
is a share below 3 %.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from record import write_record

from eagleray.options import RunOptions
from eagleray.prepare import StageFolder, StageRun, StoredRows, folder, run_stage
from eagleray.storage import Store
from eagleray.task import Item, Record, Rows, Settings, Stage

SIZE_HW, ROUNDS, CELL_PX = (1024, 2048), 5, 16
NOISE = 4
"""Gray levels of noise; so a picture takes 2.3 MB, as those of Cityscapes do on average."""


class Photographs(Stage):
    """Noisy gradients, which PNG packs about as well as street scenes.

    Args:
        count: Number of images.
    """

    name = "photographs"
    schema: Mapping[str, str] = {"ids": "list<int32>"}

    def __init__(self, count: int) -> None:
        self._count = count

    def settings(self) -> Settings:
        """Return no settings."""
        return Settings()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the images."""
        yield from (Item(f"{i:04d}", "", {"seed": i}) for i in range(self._count))

    def load(self, item: Item) -> Item:
        """Return the item."""
        return item

    def process(self, samples: Sequence[Item]) -> Sequence[Sequence[Record]]:
        """Draw the images."""
        return [[self._record(item)] for item in samples]

    def _record(self, item: Item) -> Record:
        rng = np.random.default_rng(item.payload["seed"])
        height, width = SIZE_HW
        coarse = rng.integers(0, 200, (height // CELL_PX, width // CELL_PX, 3), np.uint8)
        fine = np.kron(coarse, np.ones((CELL_PX, CELL_PX, 1), np.uint8))
        pixels = fine + rng.integers(0, NOISE, fine.shape, np.uint8)
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
        return Record(
            item.key, {"ids": rng.integers(0, 99, 4096)}, {"photo.png": buffer.getvalue()}
        )


def read_all(place: StageFolder, listing: str) -> float:
    """Return the CPU seconds of reading all rows and decoding all pictures in a new handle."""
    rows = StoredRows(place, listing)
    begin = time.process_time()
    for key in list(rows.keys()):
        assert len(rows[key]["ids"])
        np.asarray(Image.open(BytesIO(rows.read_file(key, "photo.png"))).convert("RGB"))
    return time.process_time() - begin


class Everything(set[str]):
    """Takes every file for compared already."""

    def __contains__(self, name: object) -> bool:
        return True


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as temporary:
        place = StageFolder(Store(str(Path(temporary) / "stage")))
        summary, _ = run_stage(StageRun(Photographs(count), place), RunOptions(inline=True))
        seconds: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(ROUNDS):
            for name, checked in (("without", Everything()), ("with", set())):
                with mock.patch.object(folder, "_CHECKED", checked):
                    seconds[name].append(read_all(place, summary.listing))
    without, with_checks = (statistics.median(seconds[name]) for name in ("without", "with"))
    share = with_checks / without - 1
    print(f"{count} images, {summary.bytes / 1e6:.0f} MB: {without:.3f} s without checksums, ")
    print(f"{with_checks:.3f} s with them ({100 * share:+.1f} %)")
    write_record(
        "verify_cost",
        {"images": count, "bytes": summary.bytes, "without_s": without, "with_s": with_checks},
    )


if __name__ == "__main__":
    main()
