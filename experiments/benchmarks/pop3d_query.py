"""How long a text takes over an index of 1,000 key frames, one core.

    OMP_NUM_THREADS=1 python experiments/benchmarks/pop3d_query.py

The index is written as ``eagleray query`` writes it: shards of rows with 5,000 occupied voxels of a
grid of 100 x 100 x 8 each and 64 bytes per voxel: 60 kinds of things in blocks of 4 x 4 columns,
each voxel with noise of its own. The rows are opened anew for every text, as a new command does;
the files lie in the operating system's cache. Embedding is measured beside it with the toy CLIP and
85 sentences.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import write_record
from torch.nn import functional as F

from eagleray.options import RunOptions
from eagleray.prepare import StageFolder, StageRun, open_rows, run_stage
from eagleray.storage import Store
from eagleray.task import Item, Record, Resources, Rows, Settings, Stage
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.querying import INDEX_SCHEMA, find_hits
from eagleray_pop3d.words import TextSettings, embed_texts
from eagleray_vision.codecs import codec_of_json, fit_codec

FRAMES, VOXELS, CHANNELS, TEXTS = 1_000, 5_000, 512, 5
KINDS, DRAWN = 60, 256
"""Kinds of things, and features that are drawn of each."""


def features_of_kinds() -> torch.Tensor:
    """Return ``(60 * 256, 512)`` features: a direction per kind with as much noise."""
    generator = torch.Generator().manual_seed(0)
    kinds = F.normalize(torch.randn((KINDS, 1, CHANNELS), generator=generator), dim=-1)
    noise = F.normalize(torch.randn((KINDS, DRAWN, CHANNELS), generator=generator), dim=-1)
    return F.normalize(kinds + noise, dim=-1).reshape(-1, CHANNELS)


class DrawnSettings(Settings):
    """Size of the index."""

    frames: int = FRAMES
    voxels: int = VOXELS


class DrawnIndex(Stage[str, list[Record]]):
    """An index of drawn codes."""

    name = "index"
    schema = INDEX_SCHEMA
    resources = Resources(seconds_per_item=0.5)
    fit_items = 1

    def settings(self) -> DrawnSettings:
        """Return the size of the index."""
        return DrawnSettings()

    def items(self, upstream: Mapping[str, Rows]) -> Iterator[Item]:
        """List the key frames."""
        for number in range(FRAMES):
            yield Item(f"frame{number:04d}", "", {"number": number})

    def setup(self, device: str, upstream: Mapping[str, Rows], fitted: Mapping[str, Any]) -> None:
        """Encode some features of every kind."""
        if fitted:
            codec = codec_of_json(fitted)
            codes = codec.encode(features_of_kinds())
            self._codes = codes.values.numpy().reshape(KINDS, DRAWN, -1)
            self._fingerprint = codes.fingerprint

    def load(self, item: Item) -> str:
        """Return the key."""
        return item.key

    def fit(self, samples: Any) -> Mapping[str, Any]:
        """Fit a codebook on drawn directions."""
        return fit_codec("pq64", features_of_kinds()[:: DRAWN // 32]).to_json()

    def process(self, samples: Sequence[str]) -> list[list[Record]]:
        """Draw voxels and their codes."""
        return [[self._record(key)] for key in samples]

    def _record(self, key: str) -> Record:
        rng = np.random.default_rng(int(key[-4:]))
        size = GridSettings().size_xyz
        places = np.sort(rng.choice(int(np.prod(size)), VOXELS, replace=False)).astype("<i4")
        blocks = rng.integers(0, KINDS, (size[0] // 4, size[1] // 4))
        x, y, _ = np.unravel_index(places, size)
        codes = self._codes[blocks[x // 4, y // 4], rng.integers(0, DRAWN, VOXELS)]
        row = {
            "size_xyz": list(size),
            "voxels": places.tobytes(),
            "codes": codes.tobytes(),
            "fingerprint": self._fingerprint,
        }
        return Record(key, row)


def main() -> None:
    """Make the index, ask it, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds, processor = [], []
    with tempfile.TemporaryDirectory() as work:
        folder = StageFolder(Store(str(Path(work) / "index")))
        run_stage(StageRun(DrawnIndex(), folder), RunOptions(inline=True, device="cpu"))
        size = sum(path.stat().st_size for path in Path(work).rglob("*.parquet"))
        codec = codec_of_json(open_rows(folder).fitted())
        for seed in range(TEXTS):
            text = features_of_kinds()[seed * DRAWN]
            begin, busy = time.perf_counter(), time.process_time()
            rows = open_rows(folder)
            hits = find_hits(text, rows, rows.keys(), 10, GridSettings())
            seconds.append(time.perf_counter() - begin)
            processor.append(time.process_time() - busy)
            assert len(hits) == 10 and codec.channels == CHANNELS
    begin = time.perf_counter()
    embed_texts(TextSettings(clip="toy"), ["yellow bus"], 128)
    results = {
        "key_frames": FRAMES,
        "voxels_per_key_frame": VOXELS,
        "index_mb": round(size / 1e6, 1),
        "seconds_per_text": [round(one, 3) for one in seconds],
        "median_s": round(float(np.median(seconds)), 3),
        "processor_median_s": round(float(np.median(processor)), 3),
        "embedding_by_toy_clip_s": round(time.perf_counter() - begin, 3),
        "at_most_s": 3.0,
    }
    print("\n".join(f"{name}: {value}" for name, value in results.items()))
    if not arguments.no_record:
        print(write_record("pop3d_query", results, packages=["pyarrow"]))


if __name__ == "__main__":
    main()
