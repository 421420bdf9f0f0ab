"""What a wheel holds: every package of ours, and the data that they read from their own folders.

What decides that is looked at by default; the slow test builds one and works with it.
"""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from tests.documented import pages

ROOT = Path(__file__).parents[1]
TOY_CLIP = "tasks/eagleray_vision/clip/toy/toy_clip.safetensors"
COMPILED = "cuda_ops/eagleray_kernels/csrc/all.cpp"


def test_all_packages_are_in_the_wheel():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    ours = {
        path.parent.relative_to(ROOT).as_posix()
        for folder in build["dev-mode-dirs"]
        for path in (ROOT / folder).glob("*/__init__.py")
    }
    wheel = build["targets"]["wheel"]
    assert set(wheel["packages"]) == ours
    # nothing is left out of the packages but what git ignores
    assert set(wheel) == {"packages"} and set(build) == {"dev-mode-dirs", "targets"}


@pytest.mark.parametrize("path", [TOY_CLIP, COMPILED])
def test_data_of_packages_are_in_the_repository(path):
    assert (ROOT / path).is_file()
    if not (ROOT / ".git").exists():
        pytest.skip("git tells what it ignores in a clone alone")
    ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
    assert ignored.returncode == 1


def extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"])


def test_extras_that_pages_and_messages_name_are_there():
    texts = [path.read_text() for path in [*pages(), *(ROOT / "platform").rglob("*.py")]]
    named = {
        extra.strip()
        for text in texts
        for found in re.findall(r"pip install '(?:eagleray|\.)\[([\w, ]+)\]'", text)
        for extra in found.split(",")
    }
    assert {"seamseg", "view", "mlflow"} <= named
    assert named <= extras()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def installed(wheel, tmp_path):
    """An empty environment with the wheel; what it depends on is seen in this one's folder, whose
    own installation of ours stays unseen.
    """
    target = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    command = [sys.executable, "-m", "pip", "--python", str(target / "bin" / "python"), "install"]
    subprocess.run([*command, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = target.glob("lib/python3.*/site-packages")
    outer = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "outer.pth").write_text("\n".join(outer) + "\n")
    return target / "bin"


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_has_commands_tasks_and_extras(wheel, installed, tmp_path):
    with zipfile.ZipFile(wheel) as content:
        assert "eagleray_vision/clip/toy/toy_clip.safetensors" in content.namelist()
        assert "eagleray_kernels/csrc/all.cpp" in content.namelist()
        (path,) = [n for n in content.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = HeaderParser().parsestr(content.read(path).decode())
    assert set(metadata.get_all("Provides-Extra")) == extras()

    def give(*command: str) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [str(installed / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = give("python", "-c", "import eagleray, eagleray_vision; print(eagleray.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "usage: eagleray VERB" in give("eagleray", "--help")
    listed = give("eagleray", "tasks")
    for task in ("efficientps", "omniseg3d", "ops", "pop3d", "seamseg", "toyworld"):
        assert f"| {task} " in listed
    give("eagleray", "new", "crops")
    assert (tmp_path / "crops" / "crops" / "task.py").is_file()
