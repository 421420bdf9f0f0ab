"""The plugin through the components that it runs on: Ray Data, DeepSpeed, several workers, the
command line, and cityscapesScripts' own evaluation.
"""

import io
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from pyarrow.parquet import read_table
from tests.eagleray_efficientps.converted_folder import convert
from tests.eagleray_efficientps.small_network import SMALL, cityscapes_settings
from tests.eagleray_efficientps.test_published_import import CLASSES, original_names
from tests.eagleray_vision.small_data import (
    CAR,
    ROAD,
    SKY,
    instance_ids,
    photo,
    small_cityscapes,
    write_frame,
)

from eagleray.api import Experiment
from eagleray.cli import main
from eagleray_efficientps.conversion.converted_frame import panoptic_categories
from eagleray_efficientps.model.config import NetworkSettings
from eagleray_efficientps.model.network import EfficientPsNetwork
from eagleray_vision.panoptic.cityscapes import cityscapes_panoptic_annotation
from eagleray_vision.panoptic.label_image import read_deep_ids, rgb_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES

VAL_FRAMES = 5


def streets(root: Path) -> Path:
    """Write two training and five validation frames; the road takes most of the latter."""
    small_cityscapes(root)
    for number in range(1, VAL_FRAMES):
        label = np.full((64, 96), ROAD)
        label[: 4 + number] = SKY
        label[40:50, 10 + number : 30 + number] = CAR * 1000
        write_frame(
            root, f"ulm_{number:06d}_000019", split="val", image=photo(seed=number), label=label
        )
    return root


def values_of(root: Path, storage: Path, **settings: Any) -> dict[str, Any]:
    """Return an experiment of a small network on a tiny Cityscapes, as in a YAML."""
    return {
        "task": "efficientps",
        "name": "small",
        "storage": str(storage),
        "device": "cpu",
        "settings": cityscapes_settings(root, **settings).model_dump(mode="json"),
        "evaluate": {"pictures": 0, "units_per_shard": 1, "benchmarks": ["cityscapes_val"]},
    }


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".eagleray"
    }


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("format", ["cityscapes", "kitti"])
def test_ray_data_converts_as_one_process_does(tmp_path: Path, format: str) -> None:
    root, data = tmp_path / "in", {"format": format}
    if format == "cityscapes":
        write_frame(streets(root), "bonn_000009_000019", label=b"")
    else:
        data |= {"train_split": "training", "val_split": "validation"}
        for split in ("training", "validation"):
            for folder in ("images", "annotations"):
                (root / split / folder).mkdir(parents=True)
            for number in range(3):
                name = f"{number:06d}.png"
                Image.fromarray(photo(seed=number)).save(root / split / "images" / name)
                ids = rgb_ids_png(np.roll(instance_ids(), number))
                (root / split / "annotations" / name).write_bytes(ids)
        (root / "training" / "annotations" / "000001.png").write_bytes(b"")
    counts, files = [], []
    for name, inline in (("here", True), ("ray", False)):
        prepared = convert(root, tmp_path / name, tmp_path / f"{name}_out", inline=inline, **data)
        counts.append({s.label: (s.done, s.rejected) for s in prepared.summaries})
        files.append(content(tmp_path / f"{name}_out"))
    assert counts[0] == counts[1] and counts[0]["converted_frames:train"][1] == 1
    assert len(files[0]) > 10 and files[0] == files[1]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_two_deepspeed_workers_train_as_one_process_does(tmp_path: Path) -> None:
    network = {
        **SMALL,
        "backbone": {"name": "efficientnet_b0", "normalization": "synced_batch"},
        "semantic": {"channels": 16, "worst_fraction": None},
    }
    values = values_of(streets(tmp_path / "in"), tmp_path / "s", network=network)
    # The recipe divides the losses of boxes and masks by what each rank has found, as the original
    # does, so that they depend on the number of ranks; "global" divides by what all have. Random
    # weights behind norms over few values have gradients of norm 1e4, which differ by a hundredth
    # between the two at losses equal to 2e-4: steps are short, so that the next losses are not led
    # apart by that.
    phase = {"steps": 3, "batch_size": 2, "lr": 1e-4, "optimizer": "sgd", "clip_norm": 1.0}
    phase |= {"normalize": "global", "schedule": {"kind": "constant"}}
    losses = []
    for name, workers, inline in (("one", 1, True), ("two", 2, False)):
        strategy = {"strategy": "deepspeed", "zero_stage": 1} if workers > 1 else {}
        train = {"phases": [phase], "num_workers": workers, **strategy}
        experiment = Experiment.from_values({**values, "name": name, "train": train}, inline=inline)
        summary = experiment.train()
        assert summary.finished and summary.metrics["skipped_steps"] == 0
        losses.append({k: v for k, v in summary.metrics.items() if k.startswith("loss")})
    assert len(losses[0]) == len(losses[1]) == 7
    for name in losses[0]:
        assert losses[1][name] == pytest.approx(losses[0][name], rel=0.02, abs=0.01), name


def published_zip(path: Path) -> Path:
    """Write random weights of a B0 network as the original publishes its own."""
    torch.manual_seed(0)
    values = {"backbone": {"name": "efficientnet_b0"}}
    network = EfficientPsNetwork(NetworkSettings.model_validate(values), **CLASSES)
    with torch.no_grad():  # so that the road is seen where it is, and PQ is not zero
        network.semantic_head.logits.bias[0] += 100
    names = original_names(network)
    state = {names[name]: value for name, value in network.state_dict().items()}
    torch.save({"meta": {"epoch": 160}, "state_dict": state}, path.with_suffix(".pth"))
    with zipfile.ZipFile(path, "w") as packed:
        packed.write(path.with_suffix(".pth"), "efficientPS_cityscapes/model/model.pth")
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an experiment that ``eagleray import`` has made of a published archive."""
    folder = tmp_path_factory.mktemp("imported")
    source = published_zip(folder / "efficientPS_cityscapes.zip")
    output = folder / "weights" / "model.safetensors"
    assert main.run(["import", "efficientps", str(source), "--output", str(output)]) == 0
    (path,) = output.parent.glob("*.yaml")
    values = yaml.safe_load(path.read_text())
    settings = {
        "faithful": False,
        "data": {"root": str(streets(folder / "in"))},
        "input": {"size_hw": [64, 96], "crop_hw": [64, 96]},
        "fusion": {"min_stuff_area_px": 30},
    }
    values["settings"] |= settings
    values |= {"storage": str(folder / "storage"), "device": "cpu"}
    values["evaluate"] |= {"pictures": 0, "units_per_shard": 1}
    path.write_text(yaml.safe_dump(values))
    return path


def evaluated(path: Path, name: str, *, inline: bool) -> tuple[Any, list[str]]:
    """Evaluate and return the result, and the keys of all rows that were written."""
    values = yaml.safe_load(path.read_text()) | {"name": name}
    values["evaluate"] |= {"workers": 2}
    experiment = Experiment.from_values(values, inline=inline)
    (result,) = experiment.evaluate()
    rows = f"evaluation/{result.benchmark}/{result.rows}/shards"
    keys: list[str] = []
    for shard in experiment.run_folder.files(rows):
        keys += read_table(io.BytesIO(experiment.run_folder.read(shard)))["key"].to_pylist()
    return result, keys


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_evaluate_an_imported_network_each_unit_once(imported: Path) -> None:
    alone, expected = evaluated(imported, "alone", inline=True)
    together, keys = evaluated(imported, "together", inline=False)
    assert Counter(keys) == Counter(expected) and set(Counter(keys).values()) == {1}
    assert len(keys) == together.units == VAL_FRAMES
    assert together.values == alone.values and alone.values["pq"] > 0


def test_cityscapes_scripts_score_the_export_of_predict_as_evaluate_does(
    imported: Path, tmp_path: Path
) -> None:
    evaluation = pytest.importorskip("cityscapesscripts.evaluation.evalPanopticSemanticLabeling")
    root = imported.parents[1] / "in"
    command = ["predict", str(imported), str(root / "leftImg8bit" / "val"), "--inline"]
    command += ["--format", "cityscapes_panoptic", "--output", str(tmp_path / "out")]
    assert main.run(command) == 0
    truth = {"images": [], "annotations": [], "categories": panoptic_categories(CITYSCAPES)}
    (tmp_path / "truth").mkdir()
    for path in sorted(root.glob("gtFine/val/*/*_instanceIds.png")):
        name = path.name.removesuffix("_gtFine_instanceIds.png")
        ids, annotation = cityscapes_panoptic_annotation(read_deep_ids(path), name)
        (tmp_path / "truth" / annotation["file_name"]).write_bytes(rgb_ids_png(ids))
        truth["annotations"].append(annotation)
        truth["images"].append({"id": name, "file_name": f"{name}_gtFine_leftImg8bit.png"})
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    theirs = evaluation.evaluatePanoptic(
        str(tmp_path / "truth.json"),
        str(tmp_path / "truth"),
        str(tmp_path / "out" / "cityscapes_panoptic.json"),
        str(tmp_path / "out" / "cityscapes_panoptic"),
        str(tmp_path / "results.json"),
    )
    ours, _ = evaluated(imported, "scored", inline=True)
    for group, metric in (("All", "pq"), ("Things", "pq_things"), ("Stuff", "pq_stuff")):
        assert ours.values[metric] == pytest.approx(100 * theirs[group]["pq"], abs=1e-9)
    assert ours.values["pq"] > 0


def test_a_machine_without_training_data_evaluates_and_predicts_with_another_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = streets(tmp_path / "in")
    weights = tmp_path / "imagenet.pth"
    torch.save(timm.create_model("tf_efficientnet_b0").state_dict(), weights)
    backbone = {"name": "efficientnet_b0", "normalization": "batch", "weights": str(weights)}
    values = values_of(root, tmp_path / "s", network={**SMALL, "backbone": backbone})
    phase = {"steps": 1, "batch_size": 1, "schedule": {"kind": "constant"}}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values | {"train": {"phases": [phase]}}))
    assert main.run(["train", str(path), "--inline"]) == 0
    (run,) = {found.parent for found in (tmp_path / "s" / "runs").rglob("checkpoints")}
    weights.unlink()
    for part in ("leftImg8bit", "gtFine"):
        shutil.rmtree(root / part / "train")
    shutil.rmtree(tmp_path / "s" / "prepared")
    other = ["--settings.fusion.score_threshold", "0.2", "--inline"]
    assert main.run(["evaluate", str(path), *other]) == 0
    photos = str(root / "leftImg8bit" / "val")
    command = ["predict", str(path), photos, "--format", "coco_panoptic", *other]
    assert main.run([*command, "--output", str(tmp_path / "out")]) == 0
    predicted = json.loads((tmp_path / "out" / "coco_panoptic.json").read_text())
    assert len(predicted["annotations"]) == VAL_FRAMES
    # the trained run was found, not another one begun
    assert {found.parent for found in (tmp_path / "s" / "runs").rglob("checkpoints")} == {run}
    assert (run / "evaluation" / "cityscapes_val").is_dir()
    capsys.readouterr()
    assert main.run(["train", str(path), "--new", "--inline"]) == 2
    assert "backbone" in capsys.readouterr().err
