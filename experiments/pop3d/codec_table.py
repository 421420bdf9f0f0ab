"""Codecs of features on real photographs: bytes, cosine, error and agreement, fitted on others.

    EAGLERAY_DATA=... python experiments/pop3d/codec_table.py [CODEC ...]

Features are 256 dense channels of a real network (a stand-in for MaskCLIP+, ``stand_in.py``), taken
at the cells of its own grid. Fits see some twenty photographs, whole and in random pieces of random
brightness: the network adds something of the whole picture to every cell, so that many pictures
matter more than many cells. The table is measured on other photographs: three cameras of the key
frame whose other three were seen (as in a data set, where fit and use are of one kind), and
photographs of other places and kinds. The best "text" is the network's own class (its last layer
is one product).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stand_in import VocFeatures

from eagleray_vision.codecs import fit_codec, measure_codec
from eagleray_vision.images.reading import read_rgb

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from record import write_record

Image = npt.NDArray[np.uint8]

CODECS = ("fp16", "uint8", "pca128", "pca128u8", "pq50", "pq64", "opq50", "ipq50", "ipq64")
WHOLE_PX, PIECE_PX = (913, 513), (673, 385)
"""Bounds of the sides of photographs and of pieces of them; features are measured at the first."""
PIECES = 4
"""Of each photograph that fits see."""


def photographs(data: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return those that fits see, and by kind those that they do not."""
    frame = sorted((data / "nuscenes_frame").glob("CAM_*.jpg"))
    fox = sorted((data / "fox_scene" / "images").glob("*.jpg"))
    seen = [*frame[::2], *fox[::6], *sorted((data / "cityscapes_sample").glob("*leftImg8bit.png"))]
    seen += sorted((data / "street_semantic27").glob("train_?.jpg"))
    seen += [data / "photos" / "dog.jpg", data / "photos" / "bird_513.png"]
    panoramas = ("jordan_pond_2048x1024.jpg", "indoor_bedroom_a_1024x512.png")
    seen += [
        data / "panoramas" / name for name in (*panoramas, "street_annular_1210U_2048x692.png")
    ]
    others = [data / "photos" / "truck.jpg", *(data / "coco_panoptic_sample").glob("*.jpg")]
    others += [data / "panoramas" / "puy_de_sancy_2048x1024.jpg"]
    return seen, {"other cameras of a seen street": frame[1::2], "other kinds": others}


def pieces(image: Image, generator: np.random.Generator) -> Iterator[Image]:
    """Yield random pieces of a photograph: 30 to 100 % of its sides, other brightness and contrast,
    half of them mirrored.
    """
    for _ in range(PIECES):
        scale = np.exp(generator.uniform(np.log(0.3), 0.0))
        ratio = np.exp(0.5 * generator.uniform(np.log(0.6), np.log(1.6)))
        size = [
            int(np.clip(side * scale * turn, 32, side))
            for side, turn in zip(image.shape[:2], (1.0 / ratio, ratio), strict=True)
        ]
        top, left = (
            int(generator.integers(0, side - one + 1))
            for side, one in zip(image.shape[:2], size, strict=True)
        )
        values = image[top : top + size[0], left : left + size[1]] / 255.0
        gain = generator.uniform(0.6, 1.5) * generator.uniform(0.85, 1.15, 3)
        changed = np.clip(255.0 * gain * values ** generator.uniform(0.7, 1.4), 0, 255)
        piece = changed.astype(np.uint8)
        yield np.ascontiguousarray(piece[:, ::-1] if generator.random() < 0.5 else piece)


@torch.no_grad()
def cells(network: VocFeatures, image: Image) -> torch.Tensor:
    """Return (n, 256) features of all cells of a photograph."""
    inputs = network.normalize(network.prepare(image))
    found: torch.Tensor = network.feature_map(inputs[None])[0].flatten(1).T
    return found


def joined(found: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, 256) features of pictures and (n,) the picture of each."""
    return torch.cat(list(found)), torch.repeat_interleave(
        torch.tensor([len(one) for one in found])
    )


def features_to_fit(data: Path, paths: Sequence[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, 256) features of whole photographs and of pieces, and (n,) the picture of each."""
    whole, small = (VocFeatures(data, long_px=a, short_px=b) for a, b in (WHOLE_PX, PIECE_PX))
    generator, found = np.random.default_rng(0), []
    for path in paths:
        image = read_rgb(path)
        found.append(cells(whole, image))
        found += [cells(small, piece) for piece in pieces(image, generator)]
    return joined(found)


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    data = Path(os.environ["EAGLERAY_DATA"])
    paths, kinds = photographs(data)
    network = VocFeatures(data, long_px=WHOLE_PX[0], short_px=WHOLE_PX[1])
    seen, seen_images = features_to_fit(data, paths)
    unseen = {
        kind: joined([cells(network, read_rgb(path)) for path in of_kind])
        for kind, of_kind in kinds.items()
    }
    texts = network.head["logits.weight"].flatten(1)
    results: dict[str, Any] = {
        "features": VocFeatures.name,
        "channels": network.channels,
        "fit_photographs": [path.name for path in paths],
        "fit_pieces_of_each": PIECES,
        "fit_vectors": len(seen),
        "measured_photographs": {kind: [p.name for p in of] for kind, of in kinds.items()},
        "codecs": [],
    }
    for name in sys.argv[1:] or CODECS:
        begin = time.process_time()
        codec = fit_codec(name, seen, images=seen_images)
        seconds = round(time.process_time() - begin, 2)
        for kind, (vectors, images) in unseen.items():
            report = measure_codec(codec, vectors, texts, images).values()
            row = {"photographs": kind, **report, "fit_s": seconds}
            print(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
            results["codecs"].append(row)
    write_record("pop3d_codecs", results, packages=["torchvision"])


if __name__ == "__main__":
    main()
