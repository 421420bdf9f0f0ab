"""Features that are right by construction, for labeled points: a stand-in for MaskCLIP+.

    python experiments/pop3d/oracle_features.py data/toyworld/nuscenes --split mini_train
    python experiments/pop3d/oracle_features.py ... --shuffled     # a control: of other classes

The feature of a point is the vector of its class' word. Vectors are random and of length 1, or a
CLIP's text vectors (``--clip``). Beside the features (``<root>/oracle``, in the original's layout)
lie the vectors with their words (``words.npy``, ``words_names.json``), which experiments name as
``text.vectors``. Results with them bound what training can learn; they are no open vocabulary.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from eagleray_vision.clip.embedding import embed_words
from eagleray_vision.clip.reading import read_clip
from eagleray_vision.driving.lidar import read_lidarseg, read_sweep
from eagleray_vision.driving.lidarseg import NUM_CLASSES, evaluated_classes
from eagleray_vision.driving.nuscenes_tables import read_table_frames
from eagleray_vision.driving.original_files import feature_file
from eagleray_vision.driving.projection import project_frame

WORDS = (
    *("barrier", "bicycle", "bus", "car", "construction vehicle", "motorcycle", "person"),
    *("traffic cone", "trailer", "truck", "road", "crosswalk", "sidewalk", "grass"),
    *("building", "tree"),
)
"""A word for each of the 16 classes."""


def class_vectors(clip: str, channels: int) -> NDArray[np.float32]:
    """Return ``(16, D)`` vectors of length 1 of the words."""
    if clip:
        return embed_words(read_clip(clip), WORDS, "simple").numpy()
    drawn = torch.randn((NUM_CLASSES, channels), generator=torch.Generator().manual_seed(0))
    return F.normalize(drawn, dim=1).numpy()


def main() -> None:
    """Write features of all key frames of a split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the data")
    parser.add_argument("--version", default="v1.0-mini")
    parser.add_argument("--split", default="mini_train")
    parser.add_argument("--clip", default="", help="weights of a CLIP instead of random vectors")
    parser.add_argument("--channels", type=int, default=64, help="of random vectors")
    parser.add_argument("--shuffled", action="store_true", help="vectors of other classes")
    arguments = parser.parse_args()
    name = "oracle_shuffled" if arguments.shuffled else "oracle"
    folder = arguments.root / name
    folder.mkdir(exist_ok=True)
    vectors = class_vectors(arguments.clip, arguments.channels)
    np.save(folder / "words.npy", vectors)
    (folder / "words_names.json").write_text(json.dumps(WORDS))
    order = np.random.default_rng(0).permutation(NUM_CLASSES) if arguments.shuffled else None
    # Points without a class have a feature of their own, which is like none of the words.
    nothing = np.zeros((1, vectors.shape[1]), np.float32)
    table = np.concatenate([nothing, vectors if order is None else vectors[order]])
    count = 0
    for frame in read_table_frames(arguments.root, arguments.version, split=arguments.split):
        points = read_sweep(arguments.root / frame.lidar.path, frame.token)
        raw = read_lidarseg(arguments.root / frame.lidarseg_path, len(points), frame.token)
        classes = evaluated_classes(raw)
        sizes = {camera.name: camera.size_hw for camera in frame.cameras}
        matches = project_frame(frame, points, sizes)
        for camera in frame.cameras:
            found = table[classes[matches[camera.name].points]]
            for file, content in feature_file(camera, found).items():
                path = folder / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        count += 1
    print(f"{count} key frames, {vectors.shape[1]} channels: {folder}")


if __name__ == "__main__":
    main()
