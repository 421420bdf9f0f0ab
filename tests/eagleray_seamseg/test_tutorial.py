"""The tutorial page, block by block, in an empty folder; verbs run in this process."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eagleray.cli import main

PAGE = Path(__file__).resolve().parents[2] / "experiments" / "seamseg" / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_VERBS = {"prepare", "train", "evaluate", "predict"}
KINDS = {"python", "yaml", "shell"}


def blocks() -> list[tuple[str, str]]:
    return [(kind, text) for kind, text in BLOCK.findall(PAGE.read_text())]


def arguments(line: str) -> list[str]:
    """Split a command as a shell would, wildcards included."""
    words = shlex.split(line)
    found = [map(str, sorted(Path().glob(one))) if "*" in one else [one] for one in words]
    command, *rest = [word for some in found for word in some]
    assert command == "eagleray", line
    return [*rest, "--inline"] if rest[0] in INLINE_VERBS else rest


def execute(kind: str, text: str) -> None:
    if kind == "python":
        exec(compile(text, f"{PAGE.name}: {text.splitlines()[0]}", "exec"), {"__name__": "page"})
    elif kind == "yaml":
        Path(text.splitlines()[0].removeprefix("# ")).write_text(text)
    else:
        for line in text.splitlines():
            status = main.run(arguments(line))
            assert status == 0, f"{line}: exit status {status}"


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
