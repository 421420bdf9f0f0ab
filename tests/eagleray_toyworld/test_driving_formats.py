"""KITTI panoptic, Vistas and IDD files, read back by the readers of the panoptic tasks."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.eagleray_vision.small_data import run_stage

from eagleray_toyworld.formats.folder import DatasetFolder
from eagleray_toyworld.formats.idd import IDD_ID_OF_LABEL
from eagleray_toyworld.formats.panoptic import instance_values, recoded, street_panoptic
from eagleray_toyworld.formats.vistas import VERSIONS, vistas_config, vistas_config_name
from eagleray_toyworld.settings import WorldSettings
from eagleray_toyworld.stage import StreetFormat, street_frame
from eagleray_vision.datasets.idd import IddSource
from eagleray_vision.datasets.kitti import KittiPanopticSource
from eagleray_vision.datasets.label_stage import PanopticLabelStage
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.datasets.vistas import VistasSource
from eagleray_vision.panoptic.label_image import read_deep_ids
from eagleray_vision.panoptic.label_space import CITYSCAPES
from eagleray_vision.panoptic.panoptic_map import indexed_panoptic

SPLITS = {"kitti": "training", "vistas": "training", "idd": "train"}


def settings_of(format):
    return WorldSettings(format=format, scenes=1, val_every=0, height_px=80, width_px=160, seed=5)


def write(root, format):
    """Write the one scene of a world in a format, and return what was rendered."""
    settings = settings_of(format)
    (job,) = StreetFormat(settings).jobs("train")
    record = StreetFormat(settings).record(job, "train")
    folder = DatasetFolder(root, {"format": format})
    folder.write(record.files)
    folder.write({vistas_config_name(one): vistas_config(one) for one in VERSIONS})
    return street_frame(settings, job.scene_idx, job.frame_idx)


def source_of(format, root, version="1.2"):
    if format == "kitti":
        return KittiPanopticSource(root)
    return VistasSource(root, version=version) if format == "vistas" else IddSource(root)


@pytest.mark.parametrize(
    ("format", "version"), [("kitti", ""), ("vistas", "1.2"), ("vistas", "2.0"), ("idd", "")]
)
def test_the_reader_finds_the_segments_of_the_truth(tmp_path, format, version):
    frame = write(tmp_path, format)
    source = source_of(format, tmp_path, version)
    data = DatasetSettings(format=format, root=str(tmp_path))
    stage = PanopticLabelStage(source, data, "train", SPLITS[format], faithful=False)
    rows, rejects = run_stage(stage)
    assert not rejects
    (key,) = rows.keys()
    row = rows[key]
    found = indexed_panoptic(read_deep_ids(row["id_map"]), row["categories"], row["is_crowd"])
    truth = street_panoptic(frame)
    assert np.array_equal(found.id_map == 0, truth.id_map == 0)
    pairs = np.unique(np.stack([found.id_map.ravel(), truth.id_map.ravel()]), axis=1).T
    # one segment for one segment, of the same kind
    assert len(pairs) == len(truth.categories) == len(found.categories)
    space = source.label_space()
    assert len({CITYSCAPES.class_names[truth.categories[b]] for _, b in pairs[1:]}) > 5
    for mine, true in pairs[1:].tolist():
        is_thing = truth.categories[true] >= CITYSCAPES.num_stuff
        assert (found.categories[mine] >= space.num_stuff) == is_thing
    picture = np.asarray(Image.open(tmp_path / row["image_path"]).convert("RGB")).astype(int)
    assert np.abs(picture - frame.rgb).mean() < 3  # JPEG in Vistas


def test_versions_of_vistas_differ_in_their_lists(tmp_path):
    write(tmp_path, "vistas")
    old, new = (
        {
            one["name"]
            for one in json.loads((tmp_path / f"config_v{version}.json").read_text())["labels"]
        }
        for version in VERSIONS
    )
    assert old - new == {"human--person"} and new - old == {"human--person--individual"}


def test_things_stay_things_and_stuff_stays_stuff_in_idd():
    space = IddSource(None).label_space()
    for label, own in IDD_ID_OF_LABEL.items():
        ours = CITYSCAPES.class_of_original()[label] >= CITYSCAPES.num_stuff
        assert (space.class_of_original()[own] >= space.num_stuff) == ours


def test_too_many_things_for_the_format_are_an_error(street_frame):
    values = np.array([[7, 26000 + 300]], dtype=np.int32)
    ids = {7: 3, 26: 5}
    assert recoded(values, ids, per_label=1000, void=0, stuff_alone=True).tolist() == [[3, 5300]]
    with pytest.raises(ValueError, match="301 things"):
        recoded(values, ids, per_label=256, void=0, stuff_alone=False)
    own = recoded(instance_values(street_frame), {}, per_label=1000, void=9, stuff_alone=True)
    assert set(np.unique(own // 1000)) <= {0, 9}
