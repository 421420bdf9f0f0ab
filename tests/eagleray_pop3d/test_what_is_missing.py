"""Files that are not there: what is named, and what does without them."""

import json
import shutil

import pytest
from tests.eagleray_pop3d.small_task import small_experiment, write_rig

from eagleray.api import Experiment
from eagleray.task import InputError
from eagleray_pop3d.data import EvaluationFrames
from eagleray_vision.driving.errors import DrivingDataError
from eagleray_vision.driving.frame_json import read_frame_json
from eagleray_vision.driving.lidar import read_lidarseg


@pytest.fixture
def experiment(tmp_path):
    write_rig(tmp_path)
    return opened(tmp_path)


def opened(root):
    return Experiment.from_values(small_experiment(root), inline=True)


def test_evaluation_prepares_no_features_where_there_are_none(experiment, tmp_path):
    shutil.rmtree(tmp_path / "features")
    for benchmark in ("occupancy", "retrieval_val"):
        prepared = experiment.prepare_for([benchmark])
        assert [s.label for s in prepared.summaries] == ["key_frames:val"]
        assert prepared.rejected == 0
    assert not list((tmp_path / "storage").rglob("features"))
    data = experiment.task.dataset("val", prepared.rows)
    assert (
        len(data) == len(prepared.rows["key_frames:val"]) and data.load(0, None).classes is not None
    )


def test_labels_that_are_missing_are_named_with_their_key_frame(experiment, tmp_path):
    rows = experiment.prepare_for(["occupancy"]).rows["key_frames:val"]
    frames = EvaluationFrames(rows, experiment.task.settings)
    (tmp_path / "2_labels.bin").unlink()
    with pytest.raises(InputError, match=r"2_labels\.bin of key frame frame2 cannot be read"):
        frames.load(2, None)
    with pytest.raises(DrivingDataError, match="of key frame t cannot be read"):
        read_lidarseg(tmp_path / "2_labels.bin", 400, "t")
    path = tmp_path / "frames" / "frame3.json"
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "lidarseg"})
    )
    assert read_frame_json(path).lidarseg_path == ""
    rows = opened(tmp_path).prepare_for(["occupancy"]).rows["key_frames:val"]
    with pytest.raises(InputError, match="frame3 has no lidarseg labels"):
        EvaluationFrames(rows, experiment.task.settings).load(3, None)
