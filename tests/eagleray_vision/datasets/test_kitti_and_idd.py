"""KITTI panoptic and IDD in their published layouts, good files and bad ones."""

import numpy as np
import pytest
from PIL import Image
from tests.eagleray_vision.small_data import instance_ids, photo, run_stage

from eagleray_vision.datasets.idd import IDD_LEVEL3, IddSource
from eagleray_vision.datasets.kitti import KittiPanopticSource
from eagleray_vision.datasets.label_stage import PanopticLabelStage
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.panoptic.errors import MissingLabelFileError
from eagleray_vision.panoptic.label_image import deep_ids_png, rgb_ids_png
from eagleray_vision.panoptic.label_space import CITYSCAPES


def stage(source, root, split, format):
    data = DatasetSettings(format=format, root=str(root))
    return PanopticLabelStage(source, data, "train", split, faithful=False)


def write_kitti(root, key, ids, size_hw=None):
    for folder in ("images", "annotations"):
        (root / "training" / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(size_hw or ids.shape)).save(root / "training/images" / f"{key}.png")
    (root / "training/annotations" / f"{key}.png").write_bytes(rgb_ids_png(ids))


def test_kitti_frames_of_varying_size(tmp_path):
    ids = instance_ids()
    write_kitti(tmp_path, "000000", ids)
    write_kitti(tmp_path, "000001", ids[:60, :90])
    source = KittiPanopticSource(tmp_path)
    rows, rejects = run_stage(stage(source, tmp_path, "training", "kitti"))
    assert not rejects and list(rows.keys()) == ["000000", "000001"]
    row = rows["000000"]
    names = [CITYSCAPES.class_names[c] for c in row["categories"][1:]]
    assert sorted(names) == ["car", "car", "person", "person", "road", "sky"]
    assert sum(row["is_crowd"]) == 1 and source.photo_folder("training") == "training/images"


def test_bad_kitti_frames_are_rejected_with_the_reason(tmp_path):
    unknown = instance_ids()
    unknown[0, 0] = 99
    large = instance_ids().astype(np.int64)
    large[0, 0] = 26 * 1000 * 500
    write_kitti(tmp_path, "good", instance_ids())
    write_kitti(tmp_path, "unknown", unknown)
    write_kitti(tmp_path, "large", large)
    write_kitti(tmp_path, "size", instance_ids(), size_hw=(60, 96))
    write_kitti(tmp_path, "missing", instance_ids())
    (tmp_path / "training/annotations/missing.png").unlink()
    source = KittiPanopticSource(tmp_path)
    rows, rejects = run_stage(stage(source, tmp_path, "training", "kitti"))
    assert list(rows.keys()) == ["good"]
    assert "label ids [99]" in str(rejects["unknown"])
    assert "label ids [13000]" in str(rejects["large"])
    assert "60 pixels" in str(rejects["size"])
    assert "missing.png" in str(rejects["missing"])


def test_a_wrong_root_is_an_error(tmp_path):
    with pytest.raises(MissingLabelFileError, match="check the root"):
        list(KittiPanopticSource(tmp_path).labeled_images("training"))
    with pytest.raises(MissingLabelFileError, match="check the root"):
        list(IddSource(tmp_path).labeled_images("train"))


def test_idd_level_3(tmp_path):
    space = IDD_LEVEL3
    assert (space.num_stuff, space.num_things) == (17, 9)
    assert space.original_ids[17:] == tuple(range(4, 13))
    values = np.full((48, 64), 255)
    values[24:] = 0  # road
    values[:10] = 25  # sky
    values[20:30, 5:20] = 8001  # autorickshaw
    values[20:30, 30:40] = 8002
    values[26:40, 45:60] = 9  # a group of cars
    for drive in ("201", "202"):
        image = tmp_path / f"leftImg8bit/train/{drive}/0001_leftImg8bit.png"
        label = tmp_path / f"gtFine/train/{drive}/0001_gtFine_instancelevel3Ids.png"
        image.parent.mkdir(parents=True)
        label.parent.mkdir(parents=True)
        Image.fromarray(photo(values.shape)).save(image)
        label.write_bytes(deep_ids_png(values))
    source = IddSource(tmp_path)
    rows, rejects = run_stage(stage(source, tmp_path, "train", "idd"))
    assert not rejects and list(rows.keys()) == ["201_0001", "202_0001"]
    row = rows["201_0001"]
    names = [space.class_names[c] for c in row["categories"][1:]]
    assert names == ["road", "car", "sky", "autorickshaw", "autorickshaw"]
    assert row["is_crowd"][1:] == [False, True, False, False, False]
