"""Names of prepared data: whoever has prepared a data set must not have to prepare it again.

A change here means that all data of that kind are prepared anew: it needs a reason, and a higher
version of the stage.
"""

from pathlib import Path

import pytest
import yaml
from tests.eagleray_seamseg.small_settings import cityscapes_settings
from tests.eagleray_vision.small_data import small_cityscapes

from eagleray.prepare import stage_fingerprint
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_seamseg.task import SeamlessTask

ROOT = Path(__file__).resolve().parents[2]


def fingerprints(settings):
    labels = SeamlessTask(settings).stages()[:2]
    return {stage.label: stage_fingerprint(stage, {}) for stage in labels}


def test_the_quickstarts_frames_keep_their_name():
    content = yaml.safe_load((ROOT / "experiments" / "quickstart.yaml").read_text())
    settings = SeamlessSettings.model_validate(content["settings"])
    assert fingerprints(settings) == {
        "toyworld_frames:train": "9c4492b9b051f585",
        "toyworld_frames:val": "9c4492b9b051f585",
    }


@pytest.mark.parametrize(
    ("faithful", "name"), [(True, "2670118415fe6e29"), (False, "505e9058d92f1240")]
)
def test_labels_of_cityscapes_keep_their_name(tmp_path, faithful, name):
    settings = cityscapes_settings(small_cityscapes(tmp_path), faithful=faithful)
    expected = {f"panoptic_labels:{source}": name for source in ("train", "val")}
    assert fingerprints(settings) == expected
    published = SeamlessSettings(preset="cityscapes_r50", faithful=faithful)
    assert fingerprints(published) == expected
