"""A real labelled Cityscapes frame: its truth as the official tools have it, learned by heart, and
maps that lie on photographs of other sizes where they should.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from eagleray.api import Experiment
from eagleray.task import Item
from eagleray_efficientps.conversion.converted_frame import convert_frame
from eagleray_efficientps.settings import EfficientPsSettings
from eagleray_efficientps.task import EfficientPSTask
from eagleray_vision.images.opencv_resizing import resize_nearest_floor
from eagleray_vision.metrics.panoptic_quality import compute_panoptic_quality
from eagleray_vision.panoptic.cityscapes import cityscapes_to_indexed
from eagleray_vision.panoptic.label_image import deep_ids_png, read_deep_ids, rgb_of_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.scoring.rule import official_statistics

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments/efficientps/real_frames.yaml"
FRAME = "frankfurt_000000_000294"
STEPS = 150
ENOUGH = 0.6
"""Share of the fusion's ceiling that PQ has to reach."""


@pytest.fixture
def folder() -> Path:
    root = Path(os.environ.get("EAGLERAY_DATA", "")) / "cityscapes_sample"
    if not root.is_dir():
        pytest.skip("EAGLERAY_DATA names no folder with cityscapes_sample")
    return root


def test_its_converted_truth_is_that_of_cityscapes_scripts(folder: Path, tmp_path: Path) -> None:
    script = pytest.importorskip("cityscapesscripts.preparation.createPanopticImgs")
    (path,) = folder.glob(f"{FRAME}*_instanceIds.png")
    values = read_deep_ids(path)
    city = tmp_path / "gtFine" / "val" / "frankfurt"
    city.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (city / f"{FRAME}_gtFine_instanceIds.png").write_bytes(deep_ids_png(values))
    script.convert2panoptic(str(tmp_path / "gtFine"), str(tmp_path / "out"), setNames=["val"])
    theirs = json.loads((tmp_path / "out" / "cityscapes_panoptic_val.json").read_text())
    frame = convert_frame(values, FRAME)
    (png,) = (tmp_path / "out" / "cityscapes_panoptic_val").iterdir()
    assert np.array_equal(np.asarray(Image.open(png)), rgb_of_ids(frame.panoptic_ids))
    (annotation,) = theirs["annotations"]
    by_id = {one["id"]: one for one in annotation["segments_info"]}
    assert len(by_id) > 10 and {one["id"]: one for one in frame.segments} == by_id


def run(tmp_path: Path) -> tuple[EfficientPsSettings, dict[str, Any], Path]:
    """Train and evaluate; return the settings, the results by benchmark, and the weights."""
    text = os.path.expandvars(EXPERIMENT.read_text())
    values = yaml.safe_load(text) | {"storage": str(tmp_path), "device": "cpu", "name": "real"}
    values["train"] = {"phases": [values["train"]["phases"][0] | {"steps": STEPS, "batch_size": 1}]}
    experiment = Experiment.from_values(values, inline=True)
    results = {one.benchmark: one.values for one in experiment.run()}
    (weights,) = tmp_path.glob(f"runs/real/*/checkpoints/*{STEPS}/model.safetensors")
    settings = experiment.settings.settings
    assert isinstance(settings, EfficientPsSettings)
    return settings, results, weights


def quality(settings: EfficientPsSettings, weights: Path, photo: Path) -> tuple[float, float]:
    """Predict a photograph of the frame in any size, and compare it with the resized truth.

    Returns:
        PQ in percent, and the share of the labeled pixels whose class is right.
    """
    task = EfficientPSTask(settings)
    network = task.build()
    network.load_state_dict(load_file(weights))
    (item,) = task.inputs([photo])
    sample = task.load_input(Item(item.key, item.identity, item.payload))
    with torch.inference_mode():
        (found,) = task.predict(network.eval(), [sample])
    width, height = Image.open(photo).size
    assert found.fused.id_map.shape == (height, width)
    (label,) = Path(settings.data.root).glob(f"{FRAME}*_instanceIds.png")
    truth, _ = cityscapes_to_indexed(read_deep_ids(label))
    whole = IndexedPanoptic(
        resize_nearest_floor(truth.id_map, (height, width)),
        truth.categories,
        truth.is_crowd,
        truth.scores,
    )
    units = [official_statistics(whole, found.fused, CITYSCAPES.num_classes)]
    pq = 100 * float(compute_panoptic_quality(units, CITYSCAPES.is_thing).overall.pq or 0)
    labeled = whole.id_map > 0
    right = found.fused.class_map(255)[labeled] == whole.class_map(255)[labeled]
    return pq, float(right.mean())


@pytest.mark.slow
def test_it_is_learned_and_maps_lie_right_on_photographs_of_other_sizes(
    folder: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    settings, results, weights = run(tmp_path)
    learned, ceiling = (
        results[name]["pq"] for name in ("cityscapes_val", "cityscapes_val_fusion_ceiling")
    )
    assert learned >= ENOUGH * ceiling
    (source,) = folder.glob(f"{FRAME}_leftImg8bit.png")
    # KITTI's size is stretched to the network's, as the paper does; the odd one keeps its shape
    for size, keep_shape in (((1242, 375), False), ((1001, 503), True)):
        path = tmp_path / f"{size[0]}x{size[1]}.png"
        Image.open(source).convert("RGB").resize(size, Image.Resampling.BILINEAR).save(path)
        inputs = settings.input.model_copy(update={"keep_shape": keep_shape})
        own = settings.model_copy(update={"input": inputs})
        pq, right = quality(own, weights, path)
        assert pq > 0.6 * learned and right > 0.95, size
