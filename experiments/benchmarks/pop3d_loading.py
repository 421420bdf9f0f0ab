"""What loading a training sample costs beside decoding and distorting its six pictures, one core.

    EAGLERAY_DATA=... OMP_NUM_THREADS=1 python experiments/benchmarks/pop3d_loading.py

The real key frame (``nuscenes_frame``, six photographs of 1600 x 900) with as many matches as it
has and 64 bytes for each, read as the released configuration reads it: photographs distorted and
filled up, a GridMask drawn, voxels labeled, codes unpacked. Both are timed in turn.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import write_record

from eagleray_pop3d.augmentation import distort_colors, draw_colors
from eagleray_pop3d.data import TrainingFrames
from eagleray_pop3d.images import read_photograph
from eagleray_pop3d.settings import Pop3dSettings
from eagleray_pop3d.stored_features import StoredFeatures
from eagleray_vision.codecs import Codes
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.key_frame import KeyFrame
from eagleray_vision.driving.lidar import read_sweep
from eagleray_vision.driving.projection import project_frame

REPEATS = 15
AT_MOST = 1.5


class OneRow:
    """A row in memory."""

    def __init__(self, key: str, row: Mapping[str, Any]) -> None:
        self._key, self._row = key, row

    def __len__(self) -> int:
        return 1

    def keys(self) -> Sequence[str]:
        """Return the key."""
        return [self._key]

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self._row

    def shard_idx(self, key: str) -> int:
        """Return the only shard."""
        return 0

    def read_file(self, key: str, name: str) -> bytes:
        """Refuse: the row has no file."""
        raise KeyError(name)

    def summary(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    def fitted(self) -> Mapping[str, Any]:
        """Return nothing: codes are not decoded here."""
        return {}


def features_of(frame: KeyFrame, root: Path) -> StoredFeatures:
    """Return drawn codes for all matches of a key frame."""
    points = read_sweep(root / frame.lidar.path, frame.token)
    sizes = {one.name: read_photograph(root, one, frame.token).shape[:2] for one in frame.cameras}
    matches = project_frame(frame, points, {k: (int(h), int(w)) for k, (h, w) in sizes.items()})
    rows = np.concatenate([matches[one.name].points for one in frame.cameras]).astype(np.int32)
    codes = torch.randint(0, 256, (len(rows), 64), dtype=torch.uint8)
    cameras = np.repeat(
        np.arange(len(frame.cameras), dtype=np.uint8),
        [len(matches[one.name].points) for one in frame.cameras],
    )
    return StoredFeatures(frame.token, rows, cameras, Codes(codes, "drawn"))


def main() -> None:
    """Measure, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-record", action="store_true", help="print only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(os.environ["EAGLERAY_DATA"]) / "nuscenes_frame"
    frame = read_frame_json(root / "frame.json")
    stored = features_of(frame, root)
    settings = Pop3dSettings.model_validate({"data": {"format": "frames", "root": str(root)}})
    frames = TrainingFrames(
        OneRow(frame.token, frame.to_row()), OneRow(frame.token, stored.to_row()), settings
    )
    loading, pictures = [], []
    for seed in range(REPEATS):
        begin = time.process_time()
        frames.load(0, np.random.default_rng(seed))
        loading.append(time.process_time() - begin)
        begin, rng = time.process_time(), np.random.default_rng(seed)
        for camera in frame.cameras:
            image = read_photograph(root, camera, frame.token)
            distort_colors(image.astype(np.float32), draw_colors(rng))
        pictures.append(time.process_time() - begin)
    ratios = np.array(loading) / np.array(pictures)
    results = {
        "matches": len(stored.points),
        "load_ms": round(1e3 * float(np.median(loading)), 1),
        "decode_and_distort_ms": round(1e3 * float(np.median(pictures)), 1),
        "ratio": round(float(np.median(ratios)), 3),
        "at_most": AT_MOST,
        "time": "of the processor, medians of pairs with the same draws",
    }
    print("\n".join(f"{name}: {value}" for name, value in results.items()))
    if not arguments.no_record:
        print(write_record("pop3d_loading", results, packages=["opencv-python-headless", "pillow"]))


if __name__ == "__main__":
    main()
