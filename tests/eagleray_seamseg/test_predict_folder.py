"""``eagleray predict`` on a folder full of what users have, from the command line."""

import io
import json

import msgpack
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.eagleray_seamseg.exports.independent_reader import read_folder
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import photo, small_cityscapes

from eagleray.cli import main
from eagleray_vision.panoptic.label_image import read_deep_ids

FORMATS = ("overlay", "coco_panoptic", "cityscapes_instance_ids", "raw")
GOOD = {
    "a.jpg": (64, 96),
    "sub/a.jpg": (64, 96),
    "sub/a.png": (96, 64),
    "sub/deeper still/été 1.JPG": (64, 96),
    "turned.jpg": (96, 64),
    "grey.png": (64, 96),
    "alpha.png": (64, 96),
    "palette.png": (64, 96),
    "cmyk.jpg": (64, 96),
    "deep.png": (64, 96),
    "one_pixel.png": (1, 1),
    "wide.png": (9, 12_000),
    "x" * 240 + ".jpg": (64, 96),
}
BAD = ["empty.jpg", "text.jpg", "sub/cut.jpg", "gone.jpg"]


def write_folder(folder):
    (folder / "sub" / "deeper still").mkdir(parents=True)
    plain = Image.fromarray(photo())
    for name in ("a.jpg", "sub/a.jpg", "sub/deeper still/été 1.JPG", "x" * 240 + ".jpg"):
        plain.save(folder / name, "JPEG")
    Image.fromarray(photo((96, 64))).save(folder / "sub" / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    plain.save(folder / "turned.jpg", exif=exif)
    for name, mode in (("grey", "L"), ("alpha", "RGBA"), ("palette", "P")):
        plain.convert(mode).save(folder / f"{name}.png")
    plain.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(photo()[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(photo((1, 1))).save(folder / "one_pixel.png")
    Image.fromarray(photo((9, 12_000))).save(folder / "wide.png")
    buffer = io.BytesIO()
    plain.save(buffer, "JPEG")
    (folder / "sub" / "cut.jpg").write_bytes(buffer.getvalue()[:-300])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not listed")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder)
    return folder


def write_experiment(folder, **data):
    settings = cityscapes_settings(small_cityscapes(folder / "data")).model_dump(mode="json")
    settings["data"] |= data
    # one group of one channel and one pixel has no deviation
    settings["network"]["body"]["gn_groups"] = 4
    experiment = {
        "task": "seamseg",
        "storage": str(folder / "storage"),
        "settings": settings,
        "device": "cpu",
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return path


def predict(experiment, *arguments, formats=FORMATS):
    chosen = ["--format", *formats] if formats else []
    command = ["predict", experiment, *arguments, "--inline", "--checkpoint", "initial", *chosen]
    return main.run(list(map(str, command)))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Return the folder of a job over good and bad files, and its exit status."""
    folder = tmp_path_factory.mktemp("job")
    photos = write_folder(folder / "photos")
    return folder, predict(write_experiment(folder), photos, "--output", folder / "out")


def keys_of(folder):
    content = json.loads((folder / "out" / "coco_panoptic.json").read_text())
    return {image["file_name"]: image for image in content["images"]}


def test_bad_files_are_counted_and_the_rest_is_predicted(predicted):
    folder, status = predicted
    assert status == 3
    assert keys_of(folder).keys() == GOOD.keys()


def test_bad_files_are_named_with_what_is_wrong(tmp_path, capsys):
    photos = write_folder(tmp_path / "photos")
    for name in GOOD:
        (photos / name).unlink()
    assert predict(write_experiment(tmp_path), photos, "--output", tmp_path / "out") == 3
    errors = capsys.readouterr().err
    for name in BAD:
        assert f"{photos / name}: " in errors
    assert json.loads((tmp_path / "out" / "coco_panoptic.json").read_text())["images"] == []


def test_every_export_has_the_size_of_its_photograph_turned_upright(predicted):
    folder, _ = predicted
    files = {name: image["id"] for name, image in keys_of(folder).items()}
    assert len(set(files.values())) == len(GOOD)
    for name, key in files.items():
        exports = (f"overlay/{key}.jpg", f"coco_panoptic/{key}.png")
        for export in (*exports, f"instance_ids/{key}_instanceIds.png"):
            with Image.open(folder / "out" / export) as image:
                assert (image.height, image.width) == GOOD[name], export
        raw = torch.load(folder / "out" / f"raw/{key}.pth.tar", weights_only=True)
        assert tuple(raw["original_size"]) == GOOD[name]
        assert tuple(raw["sem_pred"].shape) == tuple(raw["input_size"])


def test_sub_folders_are_kept_and_clashing_names_told_apart(predicted):
    folder, _ = predicted
    names = {
        path.relative_to(folder / "out" / "overlay").as_posix()
        for path in (folder / "out" / "overlay").rglob("*.jpg")
    }
    assert {"a.jpg", "sub/a.jpg.jpg", "sub/a.png.jpg", "sub/deeper still/été 1.jpg"} <= names
    assert len(names) == len(GOOD)


def test_panoptic_export_stands_the_independent_readers_checks(predicted):
    folder, _ = predicted
    found = read_folder(folder / "out" / "coco_panoptic.json", folder / "out" / "coco_panoptic")
    assert len(found) == len(GOOD)
    assert any(segments for _, segments in found.values())


def test_formats_agree_on_classes(predicted):
    folder, _ = predicted
    for key, (ids, segments) in read_folder(
        folder / "out" / "coco_panoptic.json", folder / "out" / "coco_panoptic"
    ).items():
        values = read_deep_ids(folder / "out" / "instance_ids" / f"{key}_instanceIds.png")
        labels = np.where(values < 1000, values, values // 1000)
        expected = np.zeros_like(labels)
        for number, segment in segments.items():
            expected[ids == number] = segment["category_id"]
        assert np.array_equal(labels, expected)


def test_same_command_again_changes_nothing(predicted):
    folder, _ = predicted
    before = {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.*") if p.is_file()}
    status = predict(folder / "small.yaml", folder / "photos", "--output", folder / "out")
    after = {p: p.stat().st_mtime_ns for p in before}
    assert status == 3
    changed = {p.name for p in before if before[p] != after[p]}
    assert changed <= {"coco_panoptic.json", "current.json"}


def test_folder_without_photographs_is_refused(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    status = predict(write_experiment(tmp_path), tmp_path / "photos", "--output", tmp_path / "out")
    assert status not in (0, 3)
    assert "nothing to predict" in capsys.readouterr().err


def test_metadata_of_the_original_are_all_that_prediction_needs_of_a_data_set(tmp_path):
    meta = {
        "num_stuff": 2,
        "num_thing": 1,
        "categories": ["sky", "road", "car"],
        "palette": [[9, 9, 9], [8, 8, 8], [255, 0, 0], *[[0, 0, 0]] * 253],
        "original_ids": [23, 7, 26],
    }
    (tmp_path / "metadata.bin").write_bytes(msgpack.packb({"meta": meta}))
    experiment = write_experiment(
        tmp_path, root=str(tmp_path / "nowhere"), metadata=str(tmp_path / "metadata.bin")
    )
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo()).save(tmp_path / "photos" / "a.jpg")
    assert predict(experiment, tmp_path / "photos", "--output", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "coco_panoptic.json").read_text())
    assert [(c["id"], c["isthing"]) for c in content["categories"]] == [(23, 0), (7, 0), (26, 1)]
    raw = torch.load(tmp_path / "out" / "raw" / "a.pth.tar", weights_only=True)
    assert raw["classes"] == ["sky", "road", "car"]


def test_damaged_metadata_are_refused_by_name(tmp_path, capsys):
    (tmp_path / "metadata.bin").write_bytes(b"\xc1")
    experiment = write_experiment(tmp_path, metadata=str(tmp_path / "metadata.bin"))
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo()).save(tmp_path / "photos" / "a.jpg")
    assert predict(experiment, tmp_path / "photos", "--output", tmp_path / "out") not in (0, 3)
    assert "metadata.bin" in capsys.readouterr().err


def test_folders_given_together_and_batches_overwrite_nothing(tmp_path):
    for name in ("day", "night"):
        (tmp_path / name).mkdir()
        for index, size in enumerate([(64, 96), (96, 64), (64, 96)]):
            Image.fromarray(photo(size, seed=index)).save(tmp_path / name / f"{index}.jpg")
    experiment = write_experiment(tmp_path)
    folders = (tmp_path / "day", tmp_path / "night")
    outputs = {}
    for size in (1, 4):
        out = tmp_path / f"out{size}"
        batch = ("--evaluate.batch-size", size, "--output", out)
        assert predict(experiment, *folders, *batch, formats=("coco_panoptic",)) == 0
        outputs[size] = read_folder(out / "coco_panoptic.json", out / "coco_panoptic")
    names = [f"{folder}/{index}" for folder in ("day", "night") for index in range(3)]
    assert list(outputs[1]) == list(outputs[4]) == names
    for name in names:
        same = outputs[1][name][0] == outputs[4][name][0]
        assert same.mean() > 0.99
