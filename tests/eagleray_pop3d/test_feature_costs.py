"""Sizes of the feature store against what was derived from the original's own figures."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from eagleray.api import Experiment
from eagleray.cli.main import run
from eagleray.prepare import prepare_stages
from eagleray.storage import Store
from eagleray.task import Phase
from eagleray_pop3d import stages
from eagleray_pop3d.feature_costs import ALL_CODECS, cost_table, gpu_hours, store_costs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "originals" / "pop3d.md"
TRAINVAL, WITH_TEST = 204_894, 240_942


def published() -> list[tuple[float, float, float]]:
    """Bytes, GB of trainval and GB with test: the table of section 4, in its order."""
    section = PAGE.read_text().partition("## 4.")[2].partition("## 5.")[0]
    rows = re.findall(r"\| ([\d.]+) \| ([\d. ]+) GB \| ([\d. ]+) GB \|", section)
    return [tuple(float(v.replace(" ", "")) for v in row) for row in rows]


def test_sizes_are_those_of_the_page():
    table = published()
    assert len(table) == len(ALL_CODECS)
    parts = zip(table, store_costs(TRAINVAL), store_costs(WITH_TEST), strict=True)
    for (size, trainval, whole), ours, with_test in parts:
        assert ours.bytes_per_match == pytest.approx(size, rel=1e-4)
        assert ours.codes_gb == pytest.approx(trainval, rel=0.05)
        assert with_test.codes_gb == pytest.approx(whole, rel=0.05)


def test_hours_are_those_of_the_page():
    assert 2 <= gpu_hours(TRAINVAL) <= 3
    assert gpu_hours(168_780, 12) == pytest.approx(24, rel=0.1)


def test_the_chosen_codec_is_marked():
    table = cost_table(28_130, 6, [Phase(epochs=12)], chosen="opq50")
    (chosen,) = (row for row in table.rows if row[0].endswith("<- chosen"))
    assert chosen[0].startswith("opq50") and chosen[1] == "50"
    assert float(table.rows[-1][-1]) == pytest.approx(gpu_hours(28_130 * 6, 12), rel=0.01)
    names = [row[0] for row in cost_table(10, 6, [], chosen="pq64").rows]
    assert names.count("pq64 <- chosen") == 1 and "pq64" not in names


def write_scenes(root: Path, num_scenes: int, num_samples: int) -> list[str]:
    """The table of scenes of trainval's size, with the fields of the real one."""
    names = [f"scene-{k + 1:04d}" for k in range(num_scenes)]
    rows = [
        {
            "token": f"{k:032x}",
            "log_token": "0" * 32,
            "nbr_samples": num_samples // num_scenes + (k < num_samples % num_scenes),
            "first_sample_token": f"{k + 1:032x}",
            "last_sample_token": f"{k + 2:032x}",
            "name": name,
            "description": "Parked cars, turn right",
        }
        for k, name in enumerate(names)
    ]
    (root / "v1.0-trainval").mkdir(parents=True)
    (root / "v1.0-trainval" / "scene.json").write_text(json.dumps(rows, indent=0))
    return names


def test_plan_of_trainval_agrees_with_the_page_before_anything_is_prepared(tmp_path, capsys):
    names = write_scenes(tmp_path / "data", 850, 34_149)
    experiment = {
        "task": "pop3d",
        "storage": str(tmp_path / "storage"),
        "settings": {
            "data": {"root": str(tmp_path / "data"), "train": {"scenes": names}},
            "features": {"codec": "pq32"},
        },
        "train": {"num_workers": 1, "micro_batch_size": 1},
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(experiment))
    assert run(["plan", str(tmp_path / "mine.yaml"), "--inline"]) == 0
    printed = capsys.readouterr().out
    lines = [[cell.strip() for cell in x.strip("|").split("|")] for x in printed.splitlines()]
    sizes = {
        float(cells[1]): float(cells[2]) for cells in lines if len(cells) == 5 and "." in cells[2]
    }
    for size, trainval, _ in published():
        assert sizes[size] == pytest.approx(trainval, rel=0.05)
    assert "pq32 <- chosen" in printed and "204,894 photographs" in printed
    assert not list((tmp_path / "storage").rglob("shards"))


def whole_tables(root: Path) -> None:
    """All tables of trainval's size, 2.6 million rows each of files and poses, as the benchmark of
    their reader writes them.
    """
    sys.path.append(str(PAGE.parents[2] / "experiments" / "benchmarks"))
    try:
        tables = importlib.import_module("nuscenes_tables")
    finally:
        sys.path.pop()
    root.mkdir()
    tables.write(root, 34_149)


@pytest.mark.slow
def test_plan_over_whole_tables_agrees_with_the_page(tmp_path, capsys, monkeypatch):
    whole_tables(tmp_path / "data")
    # Nothing is unpacked but the tables.
    monkeypatch.setattr(stages, "require_unpacked", lambda root, frames: None)
    values = {
        "task": "pop3d",
        "storage": str(tmp_path / "storage"),
        "settings": {
            "data": {"root": str(tmp_path / "data"), "train": {"split": ""}},
            "features": {"codec": "pq64", "weights": str(PAGE)},
            "network": {"backbone": {"weights": str(PAGE)}},
        },
        "train": {"num_workers": 1, "micro_batch_size": 1},
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(values))
    experiment = Experiment.from_values(values, inline=True)
    prepare_stages(
        experiment.task,
        Store(experiment.settings.storage),
        experiment.settings.prepare,
        experiment.options,
        labels=["key_frames:train"],
    )
    assert run(["plan", str(tmp_path / "mine.yaml"), "--inline"]) == 0
    printed = capsys.readouterr().out
    assert "204,894 photographs" in printed
    for size, trainval, _ in published():
        (line,) = (x for x in printed.splitlines() if re.search(rf"\| +{size:.4g} +\|", x))
        assert float(line.split("|")[3]) == pytest.approx(trainval, rel=0.05)
    (planned,) = (one for one in experiment.plan() if one.label == "features:train")
    assert planned.items == 34_149
    assert planned.expected_bytes == pytest.approx(49e9 * (64 + 5) / 64, rel=0.05)
