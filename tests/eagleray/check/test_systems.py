"""The installed systems keep the contract, each on a toy experiment."""

from pathlib import Path

import pytest
import yaml
from tests.eagleray_omniseg3d.small_scene import task_of, write_scene
from tests.eagleray_ops.small_task import small_experiment
from tests.eagleray_pop3d.small_task import small_experiment as pop3d_experiment
from tests.eagleray_pop3d.small_task import write_rig

from eagleray.api import Experiment
from eagleray.testing import check_task

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
WORLD = {"train_frames": 4, "val_frames": 4, "height_px": 64, "width_px": 128}


def shrunk(name, storage, **world):
    """Return an experiment on a smaller world."""
    values = yaml.safe_load((EXPERIMENTS / name).read_text())
    values["settings"]["data"]["toyworld"] |= WORLD | world
    return Experiment.from_values({**values, "storage": str(storage)}, inline=True)


def test_toyworld(tmp_path):
    values = {"task": "toyworld", "settings": {"folder": str(tmp_path / "world")}}
    assert check_task(Experiment.from_values(values, inline=True), items=1) == []


@pytest.mark.slow
def test_seamseg(tmp_path):
    assert check_task(shrunk("quickstart.yaml", tmp_path)) == []


@pytest.mark.slow
def test_efficientps(tmp_path):
    assert check_task(shrunk("efficientps/toyworld.yaml", tmp_path)) == []


def test_omniseg3d(tmp_path):
    root = tmp_path / "scene"
    root.mkdir()
    assert check_task(task_of(write_scene(root)), items=9) == []


def test_ops(tmp_path):
    assert check_task(small_experiment(tmp_path, rerp={"mode": "offline"})) == []


def test_pop3d(tmp_path):
    write_rig(tmp_path)
    experiment = Experiment.from_values(pop3d_experiment(tmp_path), inline=True)
    assert check_task(experiment, items=3, inputs=[tmp_path / "frames"]) == []
