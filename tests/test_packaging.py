"""What a wheel holds: every package of ours, and the data that they read from their own folders.

Built by hand (``pip wheel --no-deps .``), it has `eagleray_vision/clip/toy` with its weights; here
only what decides that is looked at.
"""

import subprocess
import tomllib
from pathlib import Path

import pytest

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
