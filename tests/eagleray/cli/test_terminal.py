"""What a person sees in a terminal: a real pseudo-terminal, from the first line to the table."""

from __future__ import annotations

import re
import sys

import pytest
import yaml

pexpect = pytest.importorskip("pexpect")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COMMAND = "from eagleray.cli.main import main; main()"
SAMPLES = 24


def spawn(folder, *arguments, **settings):
    values = {"task": "tiny", "settings": {"samples": SAMPLES, **settings}}
    (folder / "quick.yaml").write_text(yaml.safe_dump(values))
    return pexpect.spawn(
        sys.executable,
        ["-c", COMMAND, *arguments, "quick.yaml", "--inline"],
        cwd=str(folder),
        encoding="utf-8",
        dimensions=(40, 140),
        timeout=600,
    )


def plain(text):
    """Return a terminal's text without the codes that color and move."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_it_says_what_is_waited_for_then_draws_a_bar_and_ends_in_a_table(tmp_path):
    child = spawn(tmp_path, "run", steps=6)
    child.expect("eagleray run: loading PyTorch, Ray and the task ...")
    assert plain(child.before).strip() == "", "something came before"
    child.expect(r"train main")
    child.expect("6/6")
    child.expect("run folder: ")
    told = plain(child.before)
    assert "mse" in told
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert not re.search("[\U0001f300-\U0001faff]", told), "a label became an emoji"
