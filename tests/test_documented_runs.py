"""Commands on the pages are given as they stand, in a folder that holds nothing but what a clone
has; what is not given is named here with its reason, and is planned where it is an experiment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.documented import ROOT, documented, pages

from eagleray.cli import main

TUTORIAL = "experiments/seamseg/README.md"
"""``tests/eagleray_seamseg/test_tutorial.py`` gives all of its commands."""
TEMPLATES = "tasks/eagleray_vision/templates/"
"""``tests/eagleray/cli/test_new.py`` gives them in the packages that ``eagleray new`` makes."""

GIVEN = (
    "eagleray tasks",
    "eagleray download --list",
    "eagleray schema --output .eagleray.schema.json",
    "eagleray plan experiments/quickstart.yaml",
    "eagleray sweep experiments/sweeps/quickstart_sweep.yaml --dry-run",
    "eagleray list",
    "eagleray show",
    "eagleray show --format csv",
)
"""What needs no run: each is given, and ends with status 0."""
OWN_TASK = (
    "eagleray new crops && pip install -e crops",
    "eagleray check crops/experiment.yaml",
    "eagleray run crops/experiment.yaml",
)
"""The story of a task of one's own, given in this order in an environment of its own."""


@dataclass(frozen=True)
class NotGiven:
    """Why commands are not given.

    Args:
        pattern: What their lines look like, as a regular expression.
        reason: Why.
    """

    pattern: str
    reason: str


HOURS = "hours on two cores"
DATA = "needs data or weights that no test has"
READERS = "names what its reader has: tests of the verb give it with names of theirs"
NOT_GIVEN = (
    NotGiven(r"make (demo|docs SERVE=1|test)", "makes an environment, or is what runs this test"),
    NotGiven(r"git clone .*|pip install .*", "fetches from the network"),
    NotGiven(r"(ray|docker|sbatch) .*", "needs a cluster, a registry or an account"),
    NotGiven(r"(\w+=\w+ )?eagleray submit .*", "needs a cluster; tests/cluster send a job to one"),
    NotGiven(r"eagleray dashboard", "serves until it is stopped; tests/browser look at it"),
    NotGiven(r"eagleray view \w+", "serves until it is stopped; tests/browser look at it"),
    NotGiven(r"eagleray download [\w ]+(--\w+ .*)?", "fetches gigabytes from the network"),
    NotGiven(r"eagleray run experiments/quickstart.yaml", "five minutes on two idle cores; CI's"),
    NotGiven(r"eagleray report quickstart .*", "after the quickstart's run"),
    NotGiven(r"eagleray sweep experiments/sweeps/quickstart_sweep.yaml", "a quarter of an hour"),
    NotGiven(r"eagleray show --sweep quickstart_sweep .*", "after its sweep"),
    NotGiven(r"eagleray suite .*", HOURS),
    NotGiven(r"eagleray prepare experiments/toyworld/street.yaml .* 100000", HOURS),
    NotGiven(r"eagleray run experiments/omniseg3d/toy_room.yaml", "a quarter of an hour"),
    NotGiven(r"eagleray prepare experiments/pop3d/toyworld_data.yaml", "a quarter of an hour"),
    NotGiven(r"python experiments/pop3d/.*|EAGLERAY_DATA=\.\.\. .*", DATA),
    NotGiven(r"eagleray \w+ experiments/(seamseg|pop3d|omniseg3d)/.*", DATA),
    NotGiven(r"eagleray show cityscapes_r50.*", DATA),
    NotGiven(r"eagleray import .*|eagleray \w+ (imported|published)/.*", DATA),
    NotGiven(r"eagleray \w+ (mine|EXP|EXPERIMENT)\.yaml.*", READERS),
    NotGiven(r"eagleray (tail|report|show) (--sweep )?[A-Zm]\w+.*", READERS),
    NotGiven(r"eagleray verify STORAGE.*", READERS),
)


def lines():
    """Return the documented lines that are not given by another test."""
    return [
        line
        for page in pages()
        for line in documented(page)
        if line.page != TUTORIAL and not line.page.startswith(TEMPLATES)
    ]


def reasons(text):
    return [one.reason for one in NOT_GIVEN if re.fullmatch(one.pattern, text)]


def test_every_documented_command_is_given_or_says_why_not():
    texts = {line.text for line in lines()}
    given = set(GIVEN) | set(OWN_TASK)
    assert given <= texts, "no page documents these any more"
    unknown = [t for t in texts - given if not reasons(t)]
    assert unknown == []
    idle = [one for one in NOT_GIVEN if not any(re.fullmatch(one.pattern, t) for t in texts)]
    assert idle == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that holds what a clone has, and no results."""
    for part in ("experiments", "cluster"):
        (tmp_path / part).symlink_to(ROOT / part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def give(line: str, binaries: Path) -> str:
    environment = {**os.environ, "PATH": os.pathsep.join([str(binaries), os.environ["PATH"]])}
    environment["VIRTUAL_ENV"] = str(binaries.parent)
    done = subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_what_needs_no_run_is_given_as_it_stands(folder):
    for line in GIVEN:
        assert give(line, Path(sys.executable).parent).strip(), line


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_task_of_ones_own_is_made_installed_checked_and_run(folder, environment):
    """``pip install -e`` as it stands, into an environment of its own over this one."""
    give(OWN_TASK[0], environment)
    assert "0 findings" in give(OWN_TASK[1], environment)
    assert "| miou" in give(OWN_TASK[2], environment)


@pytest.fixture
def environment(tmp_path):
    """The folder of commands of an empty environment that sees this one's packages behind its own;
    ours themselves are on ``PYTHONPATH``.
    """
    target = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    (packages,) = target.glob("lib/python3.*/site-packages")
    outer = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "outer.pth").write_text("\n".join(outer) + "\n")
    for name, module in {"pip": "pip._internal.cli.main", "eagleray": "eagleray.cli.main"}.items():
        command = target / "bin" / name
        command.write_text(
            f"#!{target / 'bin' / 'python'}\nimport sys\nfrom {module} import main\n"
            "sys.exit(main())\n"
        )
        command.chmod(0o755)
    return target / "bin"


NAMED = {word for line in lines() for word in line.text.split() if word.endswith(".yaml")}
PLANNED = sorted(p for p in NAMED if p.startswith("experiments/") and "/suites/" not in p)


@pytest.mark.slow
@pytest.mark.parametrize("path", PLANNED)
def test_what_is_not_given_is_planned(path, folder, monkeypatch, capsys):
    """It has a plan, or is refused with the names of the data and weights that are not here."""
    monkeypatch.setenv("EAGLERAY_DATA", str(folder))
    status, said = main.run(["plan", path]), capsys.readouterr()
    if status == 0:
        assert "run folder: " in said.out
    else:
        assert status == 2, said.err
        assert "does not find what it needs" in said.err, said.err
