"""COCO-Stuff, WildPASS, Matterport3D and Stanford2D3D files, read back by their readers."""

import numpy as np
import pytest
from pydantic import ValidationError
from tests.eagleray_vision.small_data import run_stage

from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_toyworld.formats.word_labels import WORD_LAYOUTS
from eagleray_toyworld.scene.words import SURFACE_WORDS
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.stage import output_format
from eagleray_toyworld.word_format import WordFormat
from eagleray_vision.datasets.coco_stuff import CocoStuffSource
from eagleray_vision.datasets.indoor_panoramas import (
    MATTERPORT3D,
    STANFORD2D3D,
    IndoorPanoramaSource,
)
from eagleray_vision.datasets.label_stage import PanopticLabelStage
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.datasets.wildpass import WildPassSource
from eagleray_vision.panoptic.label_image import read_deep_ids

SOURCES = {
    "coco_stuff": (CocoStuffSource, "train2017"),
    "wildpass": (WildPassSource, "val"),
    "matterport3d": (lambda root: IndoorPanoramaSource(root, MATTERPORT3D), "val"),
    "stanford2d3d": (lambda root: IndoorPanoramaSource(root, STANFORD2D3D), "area5"),
}
SHOWN = {
    "coco_stuff": {"road", "sky-other", "pavement", "building-other", "car"},
    "wildpass": {"road", "sidewalk", "curb", "car"},
    "matterport3d": {"wall", "floor", "ceiling", "objects"},
    "stanford2d3d": {"wall", "floor", "ceiling", "clutter"},
}
"""Classes that the scenes of seed 5 are known to show."""


def settings_of(format, **changed):
    height = 50 if format == "wildpass" else 80
    size = {"height_px": height, "width_px": 160}
    return WorldSettings(format=format, scenes=1, val_every=0, seed=5, **size, **changed)


@pytest.mark.parametrize("format", list(SOURCES))
def test_the_reader_finds_the_words_of_the_scene(tmp_path, format):
    writer = output_format(settings_of(format))
    assert isinstance(writer, WordFormat)
    (job,) = writer.jobs("train")
    DatasetFolder(tmp_path, {"format": format}).write(writer.record(job, "train").files)
    open_source, split = SOURCES[format]
    source = open_source(tmp_path)
    data = DatasetSettings(format=format, root=str(tmp_path))
    stage = PanopticLabelStage(source, data, "val", split, faithful=False)
    rows, rejects = run_stage(stage)
    assert not rejects and list(rows.keys()) == [job.key]
    row = rows[job.key]
    assert (row["height"], row["width"]) == settings_of(format).size_hw
    names = np.array([*source.label_space().class_names, "void"])
    table = np.array([-1, *row["categories"][1:]])
    found = names[table[read_deep_ids(row["id_map"])]]
    assert set(np.unique(found)) >= SHOWN[format]
    _, words = writer.frame(job)
    layout = WORD_LAYOUTS[format]
    wanted = np.array([layout.names.get(word, word) for word in SURFACE_WORDS])[words]
    known = np.isin(wanted, names[:-1])
    np.testing.assert_array_equal(found, np.where(known, wanted, "void"))
    assert set(np.unique(wanted[known])) <= {
        layout.names.get(w, w) for w in writer.words_with_a_class()
    }


def test_words_that_are_left_out_are_void():
    writer = WordFormat(settings_of("coco_stuff", left_out=("car", "sky")))
    assert "car" not in writer.words_with_a_class() and "road" in writer.words_with_a_class()
    (job,) = writer.jobs("train")
    files = writer.record(job, "train").files
    (label,) = (data for name, data in files.items() if name.startswith("annotations"))
    _, words = writer.frame(job)
    hidden = np.isin(np.array(SURFACE_WORDS)[words], ["car", "sky", "curb", "crosswalk", "pole"])
    assert hidden.mean() > 0.2
    assert (read_deep_ids(label)[hidden] == 255).all()


def test_coco_stuff_shows_streets_and_homes():
    settings = settings_of("coco_stuff").model_copy(update={"scenes": 6})
    kinds = [job.key.split("_")[0] for job in WordFormat(settings).jobs("train")]
    assert kinds == ["street", "street", "home"] * 2


def test_a_surface_that_does_not_exist_cannot_be_left_out():
    with pytest.raises(ValidationError, match="no such surfaces"):
        settings_of("coco_stuff", left_out=("dragon",))
