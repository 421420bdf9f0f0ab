"""Whether a turned panorama keeps its classes: at the seam, and elsewhere.

    python experiments/benchmarks/ops_seam.py experiments/ops/toyworld.yaml [--checkpoint last]

Eight toy panoramas (streets and homes, the middle 84 rows of 256 x 512, as annular cameras see
them), each turned by whole window steps and by 16 random numbers of columns; the classes are turned
back and compared with those before.
Windows that go around the seam beside the original's, which stop there. Aims: 99.9 % equal after
whole steps; after any turn at most 0.5 points less agreement in the seam band (a tenth of the
columns on either side) than elsewhere.
``--pictures FOLDER`` also writes the real panoramas of EAGLERAY_DATA, as they are above turned by
half.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from prettytable import PrettyTable
from record import write_record

from eagleray import Experiment
from eagleray.evaluate.model_stage import load_model
from eagleray.evaluate.weights import find_weights
from eagleray_ops.data import network_hw, network_image
from eagleray_ops.model.words import word_rows
from eagleray_ops.picture import overlay_picture
from eagleray_ops.predict import predict_image
from eagleray_ops.settings import OpsSettings
from eagleray_toyworld.frame_job import FrameJob
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.word_format import WordFormat
from eagleray_vision.clip.vocabulary import Vocabulary
from eagleray_vision.images.reading import read_rgb
from eagleray_vision.inference.windows import PredictWindows
from eagleray_vision.metrics.panorama_iou import seam_columns
from eagleray_vision.samples.semantic import SemanticSample

NUM_PANORAMAS, NUM_ROLLS = 8, 16
SIZE_HW = (256, 512)
ROWS = slice(86, 170)
LEAST_EQUAL = 0.999
MOST_GAP_POINTS = 0.5
WORDS = ("road", "sidewalk", "car", "person", "building", "tree", "sky", "wall", "floor", "chair")

Classes = np.ndarray[Any, np.dtype[np.int32]]


def panoramas(count: int) -> list[np.ndarray[Any, Any]]:
    """Render streets and homes that no training has seen."""
    found = []
    for index in range(count):
        name = "wildpass" if index % 2 else "matterport3d"
        settings = WorldSettings(format=name, height_px=SIZE_HW[0], width_px=SIZE_HW[1], seed=90)
        job = FrameJob(key=name, scene_idx=index, frame_idx=0)
        found.append(np.ascontiguousarray(WordFormat(settings).frame(job)[0][ROWS]))
    return found


def columns_per_step(settings: OpsSettings, size_hw: tuple[int, int]) -> int:
    """Return the fewest columns of a photograph that are whole window steps of the network."""
    width = network_hw(size_hw, settings)[1]
    step = settings.inference.stride_px * size_hw[1]
    return step // math.gcd(step, width)


def trained(path: str, checkpoint: str, words: Sequence[str]) -> tuple[OpsSettings, PredictWindows]:
    """Return the settings of an experiment and its network with the words of this benchmark."""
    experiment = Experiment.from_file(path, inline=True)
    task = experiment.task
    weights = find_weights(experiment.run_folder, checkpoint, task, experiment.settings.seed)
    model = load_model(task, weights, torch.device("cpu"))
    rows = word_rows(model, task.settings.clip, words)
    return task.settings, lambda images: model.scores(images, rows)


def looking(settings: OpsSettings, predict: PredictWindows, wrap: str) -> Callable[[Any], Classes]:
    """Return what gives the classes of a photograph, around the seam (always) or not (never)."""
    inference = settings.inference.model_copy(update={"wrap": wrap})
    chosen = settings.model_copy(update={"inference": inference})

    @torch.inference_mode()
    def classes(photo: np.ndarray[Any, Any]) -> Classes:
        photo = np.ascontiguousarray(photo)
        sample = SemanticSample("panorama", network_image(photo, chosen), photo=photo)
        return predict_image(replace(sample), predict, chosen).classes

    return classes


def compare(
    look: Callable[[Any], Classes], photos: list[Any], step_px: int, rolls: int
) -> dict[str, float]:
    """Turn panoramas and compare their classes."""
    near = seam_columns(SIZE_HW[1])
    steps, seam, elsewhere = [], [], []
    for number, photo in enumerate(photos):
        still = look(photo)
        rng = np.random.default_rng(number)
        whole = step_px * int(rng.integers(1, SIZE_HW[1] // step_px))
        steps.append((np.roll(look(np.roll(photo, whole, 1)), -whole, 1) == still).mean())
        for columns in rng.integers(1, SIZE_HW[1], rolls):
            same = np.roll(look(np.roll(photo, columns, 1)), -int(columns), 1) == still
            seam.append(same[:, near].mean())
            elsewhere.append(same[:, ~near].mean())
    return {
        "equal_after_whole_steps": float(min(steps)),
        "agreement_at_the_seam": 100 * float(np.mean(seam)),
        "agreement_elsewhere": 100 * float(np.mean(elsewhere)),
        "gap_points": 100 * float(np.mean(elsewhere) - np.mean(seam)),
    }


def write_pictures(look: Callable[[Any], Classes], words: Sequence[str], folder: Path) -> None:
    """Write the real panoramas with their classes, as they are above turned by half."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(os.environ["EAGLERAY_DATA"]) / "panoramas"
    for path in sorted(source.glob("*.[jp][pn]g")):
        photo = read_rgb(path)
        half = photo.shape[1] // 2
        turned = np.ascontiguousarray(np.roll(photo, half, 1))
        pair = [overlay_picture(one, look(one), words) for one in (photo, turned)]
        Image.fromarray(np.vstack(pair)).save(folder / f"{path.stem}.png")


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="YAML of a trained experiment")
    parser.add_argument("--checkpoint", default="last", help="best, last or a path")
    parser.add_argument("--words", default=", ".join(WORDS), help="words that CLIP knows")
    parser.add_argument("--pictures", type=Path, help="folder for the real panoramas")
    parser.add_argument("--panoramas", type=int, default=NUM_PANORAMAS, help="toy panoramas")
    parser.add_argument("--rolls", type=int, default=NUM_ROLLS, help="turns of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    words = Vocabulary.parse(options.words).names
    settings, predict = trained(options.experiment, options.checkpoint, words)
    photos, found = panoramas(options.panoramas), {}
    step = columns_per_step(settings, photos[0].shape[:2])
    for name, wrap in (("around", "always"), ("as the original", "never")):
        found[name] = compare(looking(settings, predict, wrap), photos, step, options.rolls)
    table = PrettyTable(["windows", *next(iter(found.values()))])
    for name, values in found.items():
        table.add_row([name, *(f"{value:.4f}" for value in values.values())])
    print(table)
    if options.pictures:
        write_pictures(looking(settings, predict, "always"), words, options.pictures)
    results = {
        "network": options.experiment,
        "words": list(words),
        "panoramas": options.panoramas,
        "rolls": options.rolls,
        "least_equal_after_whole_steps": LEAST_EQUAL,
        "most_gap_points": MOST_GAP_POINTS,
        **found,
    }
    print("written to", write_record("ops_seam", results))


if __name__ == "__main__":
    main()
