"""Codecs of features on real photographs: bytes, cosine, error and agreement, fitted on others.

    EAGLERAY_DATA=... python experiments/pop3d/codec_table.py

Features are 256 dense channels of a real network (a stand-in for MaskCLIP+, ``stand_in.py``), taken
at the cells of its own grid. Fits see one half of the photographs, the table is measured on the
other; the best "text" is the network's own class (its last layer is one product).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from stand_in import VocFeatures

from eagleray_vision.codecs import fit_codec, measure_codec
from eagleray_vision.images.reading import read_rgb

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from record import write_record

CODECS = ("fp16", "uint8", "pca128", "pca128u8", "pq32", "pq50", "opq50", "pq64")


def photographs(data: Path) -> tuple[list[Path], list[Path]]:
    """Return those that fits see, and those that they do not; no scene but the key frame's street
    is in both.
    """
    frame = sorted((data / "nuscenes_frame").glob("CAM_*.jpg"))
    fox = sorted((data / "fox_scene" / "images").glob("*.jpg"))
    seen = [*frame[::2], *fox[::6], *sorted((data / "cityscapes_sample").glob("*leftImg8bit.png"))]
    seen += [data / "photos" / "dog.jpg", data / "photos" / "bird_513.png"]
    seen += [data / "panoramas" / "jordan_pond_2048x1024.jpg"]
    seen += [data / "panoramas" / "indoor_bedroom_a_1024x512.png"]
    unseen = [*frame[1::2], data / "photos" / "truck.jpg"]
    unseen += [*(data / "coco_panoptic_sample").glob("*.jpg")]
    unseen += [data / "panoramas" / "puy_de_sancy_2048x1024.jpg"]
    return seen, unseen


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    data = Path(os.environ["EAGLERAY_DATA"])
    network = VocFeatures(data)

    @torch.no_grad()
    def features(paths: list[Path]) -> torch.Tensor:
        cells = []
        for path in paths:
            inputs = network.normalize(network.prepare(read_rgb(path)))
            cells.append(network.feature_map(inputs[None])[0].flatten(1).T)
        return torch.cat(cells)

    seen, unseen = map(features, photographs(data))
    texts = network.head["logits.weight"].flatten(1)
    results: dict[str, Any] = {
        "features": VocFeatures.name,
        "channels": network.channels,
        "fit_vectors": len(seen),
        "codecs": [],
    }
    for name in CODECS:
        begin = time.process_time()
        codec = fit_codec(name, seen)
        seconds = time.process_time() - begin
        report = measure_codec(codec, unseen, texts).values() | {"fit_s": round(seconds, 2)}
        print(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in report.items()}, flush=True
        )
        results["codecs"].append(report)
    write_record("pop3d_codecs", results, packages=["torchvision"])


if __name__ == "__main__":
    main()
