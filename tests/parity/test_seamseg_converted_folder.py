"""Whole data sets through the conversion stages, against the folders that the original wrote."""

import json
from pathlib import Path

import msgpack
import numpy as np
import pytest
from PIL import Image
from tests.parity.cases import cases

from eagleray.api import Experiment
from eagleray_vision.panoptic.label_image import deep_ids_png

SPLITS = {"cityscapes": ("train", "val"), "vistas": ("training", "validation")}


def write_source(data, name: str, root: Path) -> set[str]:
    """Write the case's labels in the published layout, with photographs of any content; return
    the ids."""
    found = set()
    for key in data.files:
        parts = key.split("/")
        if parts[:2] != [name, "in"] or parts[2] not in SPLITS[name]:
            continue
        split, image = parts[2], "_".join(parts[3].split("_")[:-2])
        label = root / "gtFine" / split / image.split("_")[0] / f"{parts[3]}.png"
        photo = root / "leftImg8bit" / split / image.split("_")[0] / f"{image}_leftImg8bit.png"
        if name == "vistas":
            image = parts[4]
            label = root / split / "instances" / f"{image}.png"
            photo = root / split / "images" / f"{image}.jpg"
        for path in (label, photo):
            path.parent.mkdir(parents=True, exist_ok=True)
        label.write_bytes(deep_ids_png(data[key]))
        Image.fromarray(np.zeros((*data[key].shape, 3), np.uint8)).save(photo)
        found.add(image)
    if name == "vistas":
        (root / "config.json").write_text(str(data["vistas/in/config_json"]))
    return found


def converted(name: str, root: Path, tmp_path: Path) -> Path:
    train, val = SPLITS[name]
    data = {"format": name, "root": str(root), "train_split": train, "val_split": val}
    data["convert"] = {"folder": str(tmp_path / "out")}
    values = {"task": "seamseg", "storage": str(tmp_path / "storage"), "device": "cpu"}
    values["settings"] = {"data": data, "faithful": True}
    prepared = Experiment.from_values(values, inline=True).prepare()
    assert prepared.rejected == 0
    return tmp_path / "out"


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("path", cases("seamseg", "dataset_converters"), ids=lambda p: p.stem)
def test_written_folder_is_that_of_the_original(path: Path, name: str, tmp_path: Path):
    data = np.load(path)
    if not any(key.startswith(f"{name}/in/") for key in data.files):
        pytest.skip(f"{path.name} holds no {name}")
    ids = write_source(data, name, tmp_path / "in")
    folder = converted(name, tmp_path / "in", tmp_path)
    masks = {one.stem for one in (folder / "msk").iterdir()}
    photos = {one.stem for one in (folder / "img").iterdir()}
    assert masks == photos == ids
    for image in ids:
        mask = np.asarray(Image.open(folder / "msk" / f"{image}.png"))
        assert np.array_equal(mask, data[f"{name}/out/msk/{image}.png"])

    expected = json.loads(str(data[f"{name}/out/metadata_json"]))
    found = msgpack.unpackb((folder / "metadata.bin").read_bytes(), raw=False)
    assert found["meta"] == expected["meta"]
    of_both = [entry for entry in expected["images"] if entry["id"] in ids]
    assert by_id(found["images"]) == by_id(of_both)

    for split in SPLITS[name]:
        listed = (folder / "lst" / f"{split}.txt").read_text().split()
        assert sorted(listed) == sorted(str(data[f"{name}/out/lst/{split}.txt"]).split())
        expected = json.loads(str(data[f"{name}/out/coco/{split}.json"]))
        found = json.loads((folder / "coco" / f"{split}.json").read_text())
        assert list(found) == list(expected)
        assert found["info"] == expected["info"]
        assert found["categories"] == expected["categories"]
        assert by_id(found["images"], "date_captured") == by_id(expected["images"], "date_captured")
        assert sorted_text(found["annotations"]) == sorted_text(expected["annotations"])
        numbers = sorted(one["id"] for one in found["annotations"])
        assert numbers == sorted(one["id"] for one in expected["annotations"])


def by_id(entries, *without: str):
    kept = [{k: v for k, v in entry.items() if k not in without} for entry in entries]
    return sorted(kept, key=lambda entry: entry["id"])


def sorted_text(annotations):
    """Return the annotations but for their ids, which depend on timing in the original."""
    kept = [{k: v for k, v in entry.items() if k != "id"} for entry in annotations]
    return sorted(json.dumps(entry, sort_keys=True) for entry in kept)
