"""A POP-3D task over four key frames of an own rig, with random features and named vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.eagleray_pop3d.test_data_stages import CHANNELS, NUM_FRAMES, write_frame

CLASSES = ("car", "pedestrian", "driveable_surface")
WORDS = ("car", "person", "road")
QUERIES = ((0, "car"), (1, "car"), (1, "person"))


def write_rig(root: Path) -> None:
    """Write key frames with features, labels, word vectors and three queries."""
    rng = np.random.default_rng(0)
    for number in range(NUM_FRAMES):
        write_frame(root, number)
        path = root / "frames" / f"frame{number}.json"
        content = json.loads(path.read_text())
        raw = rng.choice([0, 2, 17, 24], size=400).astype(np.uint8)
        (root / f"{number}_labels.bin").write_bytes(raw.tobytes())
        path.write_text(json.dumps({**content, "lidarseg": f"{number}_labels.bin"}))
    np.save(root / "words.npy", rng.standard_normal((len(WORDS), CHANNELS)).astype(np.float32))
    (root / "words_names.json").write_text(json.dumps(list(WORDS)))
    (root / "retrieval/annotations").mkdir(parents=True)
    lines = []
    for number, text in QUERIES:
        name = f"annotations/frame{number}_{text}.npy"
        np.save(root / "retrieval" / name, (rng.random(400) < 0.3).astype(np.uint8))
        lines.append(f"frame{number};val;{name};;{text}\n")
    (root / "retrieval/retrieval_anns_val.csv").write_text("".join(lines))


def small_settings(root: Path, **sections: Any) -> dict[str, Any]:
    """Return settings of a network that runs in a tenth of a second."""
    source = {"split": "own", "folder": "frames"}
    return {
        "data": {
            "format": "frames",
            "root": str(root),
            "train": source,
            "val": source,
            "test": source,
        },
        "features": {"extractor": "files", "folder": str(root / "features"), "codec": "ipq4"},
        "network": {
            "grid": {
                "size_hwz": [6, 8, 2],
                "range_min_m": [-12, -12, -4],
                "range_max_m": [12, 12, 4],
            },
            "backbone": {"depth": 18, "deformable_stages": []},
            "encoder": {
                "channels": 16,
                "num_layers": 1,
                "num_heads": 2,
                "feedforward_channels": 32,
                "pillars": [2, 4, 4],
                "image_points": [4, 8, 8],
                "num_cameras": 2,
            },
            "heads": {
                "occupancy_hidden": [16],
                "language_hidden": [16],
                "feature_channels": CHANNELS,
            },
        },
        "text": {
            "vectors": str(root / "words.npy"),
            "words": {name: [word] for name, word in zip(CLASSES, WORDS, strict=True)},
        },
        "truth": {"retrieval": str(root / "retrieval")},
        **sections,
    }


def small_experiment(root: Path, **train: Any) -> dict[str, Any]:
    """Return an experiment over ``write_rig``'s folder."""
    phase = {"name": "main", "steps": 3, "batch_size": 2, "optimizer": "adamw", "lr": 1e-3}
    return {
        "name": "small",
        "task": "pop3d",
        "storage": str(root / "storage"),
        "settings": small_settings(root),
        "train": {"strategy": "single", "phases": [phase], **train},
    }
