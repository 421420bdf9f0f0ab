"""The report: whole, self-contained, and deaf to what names contain."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import pytest
from experiments.benchmarks.fake_store import FakeRun, made_up_diagnostics, write_run

from eagleray.cli.main import run as run_command
from eagleray.report import report_html
from eagleray.runs.diagnostics import write_diagnostics
from eagleray.runs.run_folder import find_run


@pytest.fixture
def storage(tmp_path):
    for seed in range(2):
        write_run(
            str(tmp_path),
            FakeRun("exp", f"main-{seed}", seed=seed, points=60, pictures=6),
            side_px=24,
        )
    return tmp_path


class Page(html.parser.HTMLParser):
    """Collects visible text and everything that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.words, self.addresses, self.tags, self.handlers = [], [], [], []
        self._hidden = 0
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._hidden += tag in ("script", "style")
        self.handlers += [k for k, _ in attrs if k.startswith("on")]
        self.addresses += [v for k, v in attrs if k in ("src", "href", "data", "srcset")]

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)


def test_a_report_shows_results_pictures_settings_and_rejects(storage):
    page = Page(report_html(str(storage), ["exp/main-0"]))
    result = json.loads((storage / "runs/exp/main-0/evaluation/val/best.json").read_text())
    ours, paper = result["values"]["miou"], 0.775
    assert f"miou 0.775 {ours:.4g} {ours - paper:+.4g} made up" in page.text
    for name, values in result["per_class"].items():
        assert f"{name} {values['iou']:.4g}" in page.text
    assert page.tags.count("img") == 6
    assert "scene-broken InputError: the file is empty" in page.text
    assert "train.strategy" in page.text
    assert "packages.torch 2.15.0" in page.text


def test_results_come_before_curves_and_settings(storage):
    html = report_html(str(storage), ["exp/main-0", "exp/main-1"])
    places = [
        html.index(part) for part in (">ours</th>", "Settings that differ</h2>", ">Curves</h2>")
    ]
    assert places == sorted(places)
    assert html.rindex(">ours</th>") < html.index(">Curves</h2>")


def test_a_report_needs_nothing_from_outside(storage):
    text = report_html(str(storage), ["exp/main-0", "exp/main-1"])
    assert all(a.startswith(("data:", "#")) for a in Page(text).addresses)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", text)
    assert text.count("plotly.js v") == 1, "the library is inside once"


def test_several_runs_show_only_the_settings_that_differ(storage):
    text = report_html(str(storage), ["exp/main-0", "exp/main-1"])
    section = text[text.index("Settings that differ") : text.index('id="curves"')]
    assert "seed" in section
    assert "momentum" not in section


def test_the_worst_pictures_come_first(storage):
    page = Page(report_html(str(storage), ["exp/main-0"], pictures=1))
    values = [float(v) for v in re.findall(r"scene-\d+ miou ([\d.]+)", page.text)]
    everything = Page(report_html(str(storage), ["exp/main-0"]))
    every = [float(v) for v in re.findall(r"scene-\d+ miou ([\d.]+)", everything.text)]
    assert values == [min(every)]
    assert every == sorted(every)


def test_markup_in_files_is_text(storage):
    run = storage / "runs/exp/main-0"
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "task": evil, "error": evil}))
    result = json.loads((run / "evaluation/val/best.json").read_text())
    result.update(protocol=evil, per_class={evil: {evil: 0.5}}, values={evil: 1.0})
    (run / "evaluation/val/best.json").write_text(json.dumps(result))
    line = {"kind": "train", "total_step": 1, evil: 1.0}
    (run / "metrics/0002-00000001.jsonl").write_text(json.dumps(line) + "\n")
    clean = Page(report_html(str(storage), ["exp/main-1"]))
    text = report_html(str(storage), ["exp/main-0"])
    page = Page(text)
    assert evil not in text
    assert page.handlers == []
    assert page.tags.count("img") == clean.tags.count("img")
    assert evil in page.text, "it is shown as what it is"


def test_damaged_files_are_named(storage):
    run = storage / "runs/exp/main-0"
    (run / "summary.json").write_text("{")
    (run / "experiment.yaml").write_text("a: [")
    (run / "environment.json").unlink()
    with next((run / "metrics").glob("*.jsonl")).open("a") as handle:
        handle.write('{"total_step": 1, "lo')
    picture = next(run.rglob("scene-0000.truth-*.png"))
    picture.write_bytes(b"no picture")
    page = Page(report_html(str(storage), ["exp/main-0"]))
    for found in (
        "summary.json is missing or damaged",
        "experiment.yaml is damaged",
        "environment.json is missing or damaged",
        "1 lines of metrics could not be read",
        "picture truth of scene-0000 cannot be read",
    ):
        assert found in page.text
    assert page.tags.count("img") == 5


def test_the_verb_writes_all_runs_of_an_experiment(storage, tmp_path, capsys):
    output = tmp_path / "out" / "report.html"
    assert run_command(["report", "exp", "--storage", str(storage), "--output", str(output)]) == 0
    assert "2 runs" in capsys.readouterr().out
    assert "main-1" in Page(output.read_text()).text


@pytest.mark.parametrize("names", [["nope"], ["exp/../exp"]])
def test_the_verb_names_the_runs_there_are(storage, tmp_path, monkeypatch, capsys, names):
    monkeypatch.chdir(tmp_path)
    assert run_command(["report", *names, "--storage", str(storage)]) == 2
    assert "exp/main-0" in capsys.readouterr().err
    assert not Path("report.html").exists()


def test_a_report_shows_diagnostics(storage):
    write_diagnostics(find_run(str(storage), "main-0"), "val", "best", made_up_diagnostics(0.6))
    html = report_html(str(storage), ["exp/main-0"])
    assert "What became of the segments</h4>" in html
    assert "Confusion of pixels" in html
