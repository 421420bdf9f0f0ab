"""The task on its contract: trained in this process, evaluated, asked for words, imported."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.eagleray_ops.small_data import small_settings
from tests.eagleray_ops.small_network import ADAPTER, FORM
from tests.eagleray_ops.small_task import small_experiment, small_task
from tests.eagleray_ops.test_checkpoint_import import original_state

from eagleray.api import Experiment
from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.run_folder import training_digest
from eagleray.task import SettingsError
from eagleray_ops.benchmarks import compute_split
from eagleray_ops.checkpoint_import import import_original
from eagleray_ops.model.config import AdapterSettings, ClipSettings
from eagleray_ops.model.network import OpsNetwork
from eagleray_ops.settings import OpsSettings
from eagleray_ops.task import OpsFlags, OPSTask
from eagleray_ops.training_words import training_classes, training_words
from eagleray_vision.clip.tokenizer import PromptError
from eagleray_vision.datasets.wildpass import WILDPASS
from eagleray_vision.images.errors import UnsupportedImageError

FOLDS = ("", "_fold1", "_fold2", "_fold3")


def test_a_run_trains_is_evaluated_and_leaves_clip_out_of_its_checkpoints(tmp_path):
    experiment = small_experiment(tmp_path, steps=12)
    experiment.prepare()
    outcome = experiment.train()
    assert outcome.finished
    (result,) = experiment.evaluate()
    assert result.benchmark == "coco_val" and 0 <= result.values["miou"] <= 100
    stored = max(path.stat().st_size for path in (tmp_path / "storage").rglob("model.safetensors"))
    clip = (tmp_path / "clip.safetensors").stat().st_size
    adapter = sum(
        4 * p.numel() for p in small_task(tmp_path).build().parameters() if p.requires_grad
    )
    assert stored < adapter + clip / 10


def test_classes_that_are_not_named_are_void(tmp_path):
    task = small_task(tmp_path)
    assert training_words(task.settings) == ("person", "car", "road", "tree")
    table = training_classes(task.settings)
    assert sorted(table[[0, 2, 95, 170]]) == [0, 1, 2, 3] and table[1] == table[255] == 255
    with pytest.raises(SettingsError, match="auto"):
        training_words(small_task(tmp_path / "b", data={"words": {"auto": "car"}}).settings)
    everything = OpsSettings()
    assert len(training_words(everything)) == 171
    assert training_classes(everything)[:171].tolist() == list(range(171))


def test_other_words_are_no_other_run(tmp_path):
    words = {"vocabulary": ("car|red", "sky"), "background_words": ("tree",)}
    digests = {
        training_digest(ExperimentSettings(task="ops", settings=OpsSettings(**values)))
        for values in ({}, words, {"inference": {"rolls": 4}})
    }
    assert len(digests) == 1
    task = small_task(tmp_path).with_flags(OpsFlags(classes="road, car|red"))
    assert [one.words for one in task.vocabulary.classes] == [("road",), ("car", "red")]


def predicted(task, photo):
    model = task.build().eval()
    size = photo.shape[:2]
    path = Path(task.settings.data.root).parent / f"{size[0]}x{size[1]}.png"
    Image.fromarray(photo).save(path)
    (item,) = task.inputs([path])
    sample = task.load_input(item)
    with torch.inference_mode():
        return item, sample, task.predict(model, [sample])[0]


@pytest.mark.parametrize("size_hw", [(40, 80), (30, 200), (48, 36), (33, 97)])
def test_any_words_on_any_photograph(tmp_path, size_hw):
    task = small_task(tmp_path).with_flags(OpsFlags(classes="road, tree, sky"))
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    item, sample, found = predicted(task, photo)
    assert found.classes.shape == size_hw and found.classes.max() < 3
    files = {}
    for format in task.formats:
        files |= task.export(item, sample, found, format).files
    index = json.loads(task.export_index("labels", [{"file": "a.png"}])["labels.json"])
    assert [one["name"] for one in index["classes"]] == ["road", "tree", "sky"]
    assert len(files) == 3


@pytest.mark.parametrize("classes", ["road, ", "road, road", ",", "road, a photo of a|road"])
def test_words_that_say_nothing_are_refused(tmp_path, classes):
    with pytest.raises(SettingsError):
        small_task(tmp_path).with_flags(OpsFlags(classes=classes))


@pytest.mark.parametrize(
    ("word", "said"), [("scooter", "scooter"), ("a photo of a red car . red red red", "tokens")]
)
def test_words_that_clip_cannot_read_are_named(tmp_path, word, said):
    task = small_task(tmp_path).with_flags(OpsFlags(classes=f"road, {word}"))
    with pytest.raises(PromptError, match=said):
        predicted(task, np.zeros((40, 80, 3), np.uint8))


def test_a_photograph_that_is_a_line_is_refused(tmp_path):
    task = small_task(tmp_path)
    Image.fromarray(np.zeros((1, 400, 3), np.uint8)).save(tmp_path / "line.png")
    (item,) = task.inputs([tmp_path / "line.png"])
    with pytest.raises(UnsupportedImageError, match="short side"):
        task.load_input(item)


def test_a_clip_of_another_width_is_refused(tmp_path):
    task = small_task(tmp_path)
    wrong = OPSTask(
        task.settings.model_copy(
            update={"clip": task.settings.clip.model_copy(update={"model": "ViT-B-32-quickgelu"})}
        )
    )
    (file,) = wrong.frozen_files()
    with torch.device("meta"):
        model = wrong.build()
    with pytest.raises(SettingsError, match=f"{FORM.width} channels"):
        wrong.read_frozen(model, file)


def test_data_that_are_not_there_are_no_benchmarks(tmp_path):
    task = small_task(tmp_path)
    assert [one.name for one in task.benchmarks()] == ["coco_val"]
    assert {r.name: r.found for r in task.requirements()} == {
        "training data": True,
        "panoramas of wildpass": False,
        "panoramas of matterport3d": False,
        "panoramas of stanford2d3d": False,
        "CLIP's weights": True,
    }
    everything = OPSTask(OpsSettings()).benchmarks()
    assert len(everything) == 7 and len({one.name for one in everything}) == 7


def test_new_and_shuffled_words_are_told_beside(tmp_path):
    confusion = np.array([[8, 0, 0, 0], [0, 6, 2, 0], [0, 2, 6, 0]])
    row = {"confusion": confusion.ravel().tolist()}
    values = compute_split([row], "coco_val", ("car", "road", "sky"), {"car"}).values
    assert values["miou"] == pytest.approx(100 * (1 + 0.6 + 0.6) / 3)
    assert values["miou_new_words"] == pytest.approx(60.0)
    # turned by one and by two: what is found for a word is given to the next ones
    first = [0.0, 0.0, 2 / 14]
    second = [0.0, 2 / 14, 0.0]
    assert values["miou_shuffled_words"] == pytest.approx(100 * np.mean([first, second]))
    assert values["miou_new_words_shuffled_words"] == pytest.approx(
        100 * np.mean([first[1:], second[1:]])
    )
    alone = compute_split([{"confusion": [4, 0]}], "coco_val", ("car",), {"car"}).values
    assert "miou_shuffled_words" not in alone and "miou_new_words" not in alone


def write_wildpass(root, count=2, size_hw=(32, 128)):
    """Write panoramas with the ids of WildPASS' authors."""
    for folder in ("images/val", "annotations/val"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        ids = rng.choice([4, 11, 17, 0], size_hw).astype(np.uint8)
        Image.fromarray(np.stack([ids * 9] * 3, axis=-1)).save(root / f"images/val/{index}.png")
        Image.fromarray(ids).save(root / f"annotations/val/{index}.png")


def test_an_original_checkpoint_is_evaluated_without_training_data_and_clip(tmp_path, monkeypatch):
    """Two benchmarks with vocabularies of their own in one call; no run is trained or needed."""
    form = replace(FORM, vocab_size=49408, context_length=77)
    for module in ("checkpoint_import", "model.words"):
        monkeypatch.setattr(f"eagleray_ops.{module}.named_architecture", lambda name: form)
    torch.manual_seed(0)
    adapter = AdapterSettings.model_validate({**ADAPTER, "heads": 6})
    network = OpsNetwork(ClipSettings(), adapter, form, faithful=True)
    torch.save({"state_dict": original_state(network), "meta": {}}, tmp_path / "ops.pth")
    published = import_original(tmp_path / "ops.pth")
    save_file(dict(published.checkpoint.state_dict), tmp_path / "ops.safetensors")

    write_wildpass(tmp_path / "wildpass")
    for area, room in (("area5", "office"), ("area2_4", "hall"), ("area1_3_6", "lobby")):
        for kind in ("rgb", "semantic"):
            (tmp_path / "stanford2d3d" / area / kind).mkdir(parents=True)
            values = np.full((32, 64, 3) if kind == "rgb" else (32, 64), 3, np.uint8)
            Image.fromarray(values).save(tmp_path / "stanford2d3d" / area / kind / f"{room}.png")
    settings = small_settings(
        tmp_path,
        **published.experiment["settings"] | {"clip": {"weights": "nowhere.pt", "image_scale": 1}},
    )
    experiment = Experiment.from_values(
        {
            "task": "ops",
            "settings": settings.model_dump(mode="json", exclude_unset=True),
            "storage": str(tmp_path / "storage"),
            "evaluate": {"benchmarks": ["all"], "checkpoint": str(tmp_path / "ops.safetensors")},
        },
        inline=True,
    )
    results = {one.benchmark: one for one in experiment.evaluate()}
    assert set(results) == {"wildpass", *(f"stanford2d3d{fold}" for fold in FOLDS)}
    assert results["wildpass"].units == 2 and results["stanford2d3d"].units == 3
    assert set(results["wildpass"].per_class) <= set(WILDPASS.class_names)
    folds = [results[f"stanford2d3d_fold{k}"].values["miou"] for k in (1, 2, 3)]
    assert results["stanford2d3d"].values["miou"] == pytest.approx(np.mean(folds))
