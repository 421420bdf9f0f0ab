"""Codecs of features on real photographs: bytes, cosine, error and agreement, fitted on others.

    EAGLERAY_DATA=... python experiments/pop3d/codec_table.py [CODEC ...]

Features are 256 dense channels of a real network (a stand-in for MaskCLIP+, ``stand_in.py``), taken
at the cells of its own grid. Fits see 20 photographs in three sizes, mirrored too. The table is
measured on other photographs: three cameras of the key frame whose other three were seen (as in a
data set, where fit and use are of one kind), and photographs of other places and kinds. The best
"text" is the network's own class (its last layer is one product).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stand_in import VocFeatures

from eagleray_vision.codecs import fit_codec, measure_codec
from eagleray_vision.images.reading import read_rgb

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from record import write_record

CODECS = ("fp16", "uint8", "pca128", "pca128u8", "pq50", "pq64", "opq50")


SIZES_PX = ((913, 513), (673, 385), (1153, 641))
"""Bounds of the photographs' sides; features are measured at the first."""


def photographs(data: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return those that fits see, and by kind those that they do not."""
    frame = sorted((data / "nuscenes_frame").glob("CAM_*.jpg"))
    fox = sorted((data / "fox_scene" / "images").glob("*.jpg"))
    seen = [*frame[::2], *fox[::6], *sorted((data / "cityscapes_sample").glob("*leftImg8bit.png"))]
    seen += [data / "photos" / "dog.jpg", data / "photos" / "bird_513.png"]
    seen += [data / "panoramas" / "jordan_pond_2048x1024.jpg"]
    seen += [data / "panoramas" / "indoor_bedroom_a_1024x512.png"]
    others = [data / "photos" / "truck.jpg", *(data / "coco_panoptic_sample").glob("*.jpg")]
    others += [data / "panoramas" / "puy_de_sancy_2048x1024.jpg"]
    return seen, {"other cameras of a seen street": frame[1::2], "other kinds": others}


@torch.no_grad()
def features(network: VocFeatures, paths: list[Path], *, mirrored: bool = False) -> torch.Tensor:
    """Return (n, 256) features of all cells of some photographs."""
    cells = []
    for path in paths:
        image = read_rgb(path)
        for picture in (image, np.ascontiguousarray(image[:, ::-1]))[: 1 + mirrored]:
            inputs = network.normalize(network.prepare(picture))
            cells.append(network.feature_map(inputs[None])[0].flatten(1).T)
    return torch.cat(cells)


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    data = Path(os.environ["EAGLERAY_DATA"])
    paths, kinds = photographs(data)
    networks = [VocFeatures(data, long_px=a, short_px=b) for a, b in SIZES_PX]
    network = networks[0]
    seen = torch.cat([features(one, paths, mirrored=True) for one in networks])
    unseen = {kind: features(network, of_kind) for kind, of_kind in kinds.items()}
    texts = network.head["logits.weight"].flatten(1)
    results: dict[str, Any] = {
        "features": VocFeatures.name,
        "channels": network.channels,
        "fit_vectors": len(seen),
        "codecs": [],
    }
    for name in sys.argv[1:] or CODECS:
        begin = time.process_time()
        codec = fit_codec(name, seen)
        seconds = round(time.process_time() - begin, 2)
        for kind, vectors in unseen.items():
            report = measure_codec(codec, vectors, texts).values()
            row = {"photographs": kind, **report, "fit_s": seconds}
            print(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
            results["codecs"].append(row)
    write_record("pop3d_codecs", results, packages=["torchvision"])


if __name__ == "__main__":
    main()
