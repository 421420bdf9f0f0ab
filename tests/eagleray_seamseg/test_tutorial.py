"""The tutorial page, block by block, in an empty folder: every command as it stands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.documented import ROOT, fenced

PAGE = ROOT / "experiments" / "seamseg" / "README.md"
KINDS = {"python", "yaml", "shell"}


def blocks() -> list[tuple[str, str]]:
    return fenced(PAGE)


def execute(kind: str, text: str) -> None:
    """Do with a block what a reader does: write it into the file that it names, or give it."""
    if kind == "shell":
        return give(text)
    path = Path(text.splitlines()[0].removeprefix("# ").partition(":")[0])
    path.write_text(text)
    return give(f"python {path}") if kind == "python" else None


def give(commands: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for line in commands.splitlines():
        done = subprocess.run(
            ["bash", "-c", line],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def metric(run: str, checkpoint: str, name: str = "pq") -> float:
    (path,) = Path("storage/runs/mine").glob(f"{run}-*/evaluation/*/{checkpoint}.json")
    return float(json.loads(path.read_text())["values"][name])


def test_page_has_blocks_of_known_kinds_in_a_sensible_order() -> None:
    kinds = [kind for kind, _ in blocks()]
    assert set(kinds) == KINDS
    assert kinds.index("yaml") < kinds.index("shell")
    verbs = [
        line.split()[1] for kind, text in blocks() if kind == "shell" for line in text.splitlines()
    ]
    wanted = ["doctor", "plan", "train", "evaluate", "predict", "train", "report"]
    position = -1
    for verb in wanted:
        position = verbs.index(verb, position + 1)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_page_leads_to_a_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, text in blocks():
        execute(kind, text)
    before, after = metric("main", "initial"), metric("main", "last")
    assert after > max(2 * before, 50)
    assert metric("main", "last", "pq_things") > 20
    assert metric("finetuned", "last") > 0.8 * after
    for folder in ("predictions", "predictions_views"):
        overlays = sorted(Path(folder).rglob("*.jpg"))
        assert len(overlays) == 2
        assert all(np.asarray(Image.open(path)).shape == (96, 144, 3) for path in overlays)
    listed = json.loads(next(Path("predictions").glob("*.json")).read_text())
    assert len(listed["annotations"]) == 2
    assert len(Path("report.html").read_bytes()) > 10_000
