"""``eagleray new``: the made package is checked, run, swept, tested and typed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from types import SimpleNamespace

import pytest
from tests.conftest import ROOT, SOURCE_ROOTS

from eagleray.cli import creating, main
from eagleray.testing import check_task

TEMPLATES = {"detection": "ap50", "scene": "psnr", "segmentation": "miou"}
"""The templates, and the metric in which each one's table ends."""
COMMAND = ("-c", "from eagleray.cli.main import main; main()")


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    """Let the command find the repository's own templates, whatever is installed."""
    points = [SimpleNamespace(name=n, value=f"eagleray_vision.templates.{n}") for n in TEMPLATES]
    monkeypatch.setattr(creating, "entry_points", lambda group: points)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=sorted(TEMPLATES))
def like(request):
    """Name of a template."""
    return request.param


@pytest.fixture
def made(tmp_path, like):
    """Make a package and install it for processes that are started with this environment."""
    assert main.run(["new", "street_crops", "--like", like]) == 0
    folder = tmp_path / "street_crops"
    info = folder / "street_crops-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: street_crops\nVersion: 0.1\n")
    text = (folder / "pyproject.toml").read_text()
    assert 'street_crops = "street_crops.task:StreetCrops"' in text
    (info / "entry_points.txt").write_text(
        "[eagleray.tasks]\nstreet_crops = street_crops.task:StreetCrops\n"
    )
    path = os.pathsep.join([str(folder), *SOURCE_ROOTS])
    return folder, {**os.environ, "PYTHONPATH": path}


def ended(made, *command):
    folder, environment = made
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_distribution_offers_the_templates():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    offered = {name: f"eagleray_vision.templates.{name}" for name in TEMPLATES}
    assert project["entry-points"][creating.TEMPLATE_GROUP] == offered


def test_the_template_keeps_the_contract_where_it_stands(like):
    task = import_module(f"eagleray_vision.templates.{like}.task").MyTask
    assert check_task(task(task.settings_type())) == []


def test_a_package_is_made_under_its_name(tmp_path, like):
    assert main.run(["new", "street_crops", "--like", like, "--to", str(tmp_path / "mine")]) == 0
    folder = tmp_path / "mine" / "street_crops"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {
        "pyproject.toml",
        "README.md",
        "experiment.yaml",
        "tests/test_street_crops.py",
        "street_crops/task.py",
    } <= files
    texts = [p.read_text().lower() for p in folder.rglob("*") if p.is_file()]
    assert not [text for text in texts if "my_task" in text or "mytask" in text]


@pytest.mark.parametrize("name", ["Street", "two words", "class", "1st", "_hidden", "seamseg"])
def test_a_name_that_cannot_be_one_is_refused(name, capsys):
    assert main.run(["new", name]) == 2
    assert "choose another name" in (said := capsys.readouterr().err) or "lower-case" in said


def test_what_is_there_is_not_replaced(capsys):
    assert main.run(["new", "crops"]) == 0
    assert main.run(["new", "crops"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_an_unknown_template_names_those_there_are(capsys):
    assert main.run(["new", "crops", "--like", "segmentatoin"]) == 2
    assert "did you mean 'segmentation'" in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_checked_run_and_swept(made, like):
    assert "0 findings" in ended(made, *COMMAND, "check", "experiment.yaml")
    table = ended(made, *COMMAND, "run", "experiment.yaml", "--inline")
    assert f"| {TEMPLATES[like]}" in table
    swept = ended(made, *COMMAND, "sweep", "experiment.yaml", "--inline", "--limit", "4")
    assert "low_rate" in swept
    assert "2 passed" in ended(made, "-m", "pytest", "-q")


@pytest.mark.slow
def test_it_is_typed_without_our_settings_of_the_checker(made):
    folder, environment = made
    mypy_path = os.pathsep.join(str(ROOT / top) for top in ("platform", "tasks", "cuda_ops"))
    made = (folder, {**environment, "MYPYPATH": mypy_path})
    ended(
        made, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", "street_crops"
    )
