"""Asking a run in words: an index made once, boxes of voxels that are like a text, refusals."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.eagleray_pop3d.small_task import small_experiment, write_rig
from torch.nn import functional as F

from eagleray.api import Experiment
from eagleray.cli.main import run as run_command
from eagleray.task import InputError
from eagleray_pop3d.model.config import GridSettings
from eagleray_pop3d.predict import FramePrediction
from eagleray_pop3d.query_pictures import likeness_colors
from eagleray_pop3d.querying import find_hits, fit_voxel_codec, index_row
from eagleray_pop3d.task import POP3DTask
from eagleray_pop3d.voxels import FREE_LABEL

GRID = GridSettings(size_hwz=(10, 20, 4), range_min_m=(-20, -10, 0), range_max_m=(20, 10, 4))
CHANNELS = 8
THING, GROUND, OTHER = F.normalize(
    torch.randn((3, CHANNELS), generator=torch.Generator().manual_seed(3)), dim=1
)


class KnownRows:
    """Rows of an index in memory."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]], fitted: Mapping[str, Any]) -> None:
        self._rows, self._fitted = rows, fitted

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        return self._rows[key]

    def keys(self) -> Sequence[str]:
        return list(self._rows)

    def fitted(self) -> Mapping[str, Any]:
        return self._fitted

    def summary(self) -> Mapping[str, Any]:
        return {}

    def shard_idx(self, key: str) -> int:
        return 0

    def read_file(self, key: str, name: str) -> bytes:
        raise KeyError(name)


def frame(things: Sequence[tuple[int, int, int]]) -> FramePrediction:
    """Return a ground of 20 x 10 voxels, on which things of 2 x 2 x 2 voxels stand."""
    labels = np.full(GRID.size_xyz, FREE_LABEL, dtype=np.uint8)
    features = torch.zeros((*GRID.size_xyz, CHANNELS))
    labels[:, :, 0], features[:, :, 0] = 11, GROUND
    for x, y, z in things:
        place = np.s_[x : x + 2, y : y + 2, z : z + 2]
        labels[place], features[place] = 4, 3 * THING
    kept = features[torch.from_numpy(labels != FREE_LABEL)]
    nothing = np.zeros(0, dtype=np.uint8)
    return FramePrediction(labels, kept, torch.zeros((0, CHANNELS)), nothing)


def rows_of(frames: Mapping[str, FramePrediction]) -> KnownRows:
    fitted = fit_voxel_codec(frames.values())
    return KnownRows({key: index_row(one, fitted) for key, one in frames.items()}, fitted)


def test_boxes_are_where_the_thing_stands() -> None:
    rows = rows_of(
        {"empty": frame([]), "one": frame([(4, 2, 1)]), "two": frame([(0, 0, 1), (10, 6, 1)])}
    )
    hits = find_hits(THING, rows, rows.keys(), 10, GRID)
    assert sorted(hit.unit for hit in hits) == ["one", "two", "two"]
    assert all(hit.score == pytest.approx(1, abs=1e-3) for hit in hits)
    one = next(hit for hit in hits if hit.unit == "one")
    place = [one.values[f"{axis}_m"] for axis in "xyz"]
    size = [one.values[f"size_{axis}_m"] for axis in "xyz"]
    assert place == [-10, -4, 2] and size == [4, 4, 2] and one.values["voxels"] == 8
    assert len(find_hits(THING, rows, rows.keys(), 2, GRID)) == 2
    assert {hit.unit for hit in find_hits(THING, rows, ["one"], 10, GRID)} == {"one"}


def test_scores_are_cosines_of_what_is_stored() -> None:
    mixed = F.normalize(THING + OTHER, dim=0)
    rows = rows_of({"one": frame([(4, 2, 1)])})
    (hit,) = find_hits(mixed, rows, ["one"], 1, GRID)
    assert hit.score == pytest.approx(float(mixed @ THING), abs=1e-3)


def test_a_frame_without_voxels_answers_nothing() -> None:
    empty = frame([])
    nothing = FramePrediction(
        np.full_like(empty.labels, FREE_LABEL),
        torch.zeros((0, CHANNELS)),
        empty.point_features,
        empty.point_labels,
    )
    fitted = fit_voxel_codec([frame([(4, 2, 1)])])
    rows = KnownRows({"nothing": index_row(nothing, fitted)}, fitted)
    assert find_hits(THING, rows, ["nothing"], 3, GRID) == []
    with pytest.raises(InputError, match="none of the key frames has an occupied voxel"):
        fit_voxel_codec([nothing])


@pytest.mark.parametrize("change", [{"fingerprint": "another"}, {"codes": b"12345"}])
def test_codes_that_are_not_the_codebooks_are_refused(change: dict[str, Any]) -> None:
    rows = rows_of({"one": frame([(4, 2, 1)])})
    damaged = KnownRows({"one": {**rows["one"], **change}}, rows.fitted())
    with pytest.raises(InputError, match="delete the index"):
        find_hits(THING, damaged, ["one"], 1, GRID)


def test_the_likest_voxel_is_the_warmest() -> None:
    colors = likeness_colors(np.array([0.1, 0.9, 0.5]))
    assert colors[1].tolist() == [255, 120, 0] and colors[0, 0] < colors[2, 0] < 255
    assert likeness_colors(np.zeros(0)).shape == (0, 3)


def test_a_run_is_asked_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rig(tmp_path)
    values = small_experiment(tmp_path)
    trained = Experiment.from_values(values, inline=True)
    trained.prepare()
    assert trained.train().finished
    storage, output = values["storage"], tmp_path / "asked"
    command = ["query", trained.run_folder.name, "car", "--storage", storage, "--inline"]
    command += ["--output", str(output), "--checkpoint", "initial", "--top", "3"]
    assert run_command(command) == 0
    lines = list(csv.reader(io.StringIO((output / "hits.csv").read_text())))
    assert lines[0][:4] == ["text", "rank", "unit", "score"] and 1 <= len(lines) - 1 <= 3
    scores = [float(line[3]) for line in lines[1:]]
    assert scores == sorted(scores, reverse=True)
    assert list(output.glob("car/001_*.png")) and list(output.glob("car/001_*.ply"))
    assert "| car" in capsys.readouterr().out

    def predict(*_: Any) -> None:
        raise AssertionError("a new text needs no network")

    monkeypatch.setattr(POP3DTask, "predict", predict)
    command[2:3] = ["person", "road"]
    assert run_command([*command, "--frame", "frame2"]) == 0
    lines = list(csv.reader(io.StringIO((output / "hits.csv").read_text())))
    assert {line[2] for line in lines[1:]} == {"frame2"}
    assert {line[0] for line in lines[1:]} == {"person", "road"}
    for wrong, told in (
        (["--frame", "frame9"], "has no 'frame9'"),
        (["--split", "vall"], "no split 'vall'"),
        (["--top", "0"], "allowed is 1 or more"),
    ):
        assert run_command([*command, *wrong]) == 2
        assert told in capsys.readouterr().err
    command[2:4] = ["dragon"]
    assert run_command(command) == 2
    assert "no vector of 'dragon'" in capsys.readouterr().err
