"""The documentation site: messages and commands that it quotes exist, and it builds strictly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eagleray.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md") if "originals" not in p.parts)
READMES = [p for p in ROOT.glob("*/README.md") if p.parent.name != "tests"] + [ROOT / "README.md"]


def test_messages_of_the_troubleshooting_page_are_said_somewhere():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = [
        m for line in re.findall(r"^(`.+)\n:", page, re.M) for m in re.findall("`([^`]+)`", line)
    ]
    assert len(quoted) > 12
    sources = "\n".join(p.read_text() for p in (ROOT / "platform").rglob("*.py"))
    plain = re.sub(r'"\s*\n\s*f?"', "", sources)  # messages go over several lines
    assert [m for m in quoted if m not in plain] == []


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_pages_name_verbs_that_there_are(page):
    commands = re.findall(r"^(?:    |\t)eagleray ([a-z]+)", page.read_text(), re.M)
    assert set(commands) <= set(VERBS)


@pytest.mark.slow
def test_the_site_builds_strictly_and_holds_what_is_generated(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = {
        "reference/cli": "eagleray tail",
        "reference/yaml": "keep_checkpoints",
        "reference/tasks": "contrast_weight",
        "reference/contract": "parameter_groups",
        "reference/api": "check_choices",
        "reference/operators": "hash_grid_encode",
    }
    for page, text in expected.items():
        assert text in (tmp_path / page / "index.html").read_text(), page
