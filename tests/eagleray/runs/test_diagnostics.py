"""Diagnostics and labels as they are stored."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from experiments.benchmarks.fake_store import FakeRun, draw_layers, made_up_diagnostics, write_run
from PIL import Image

from eagleray.evaluate.stage import layer_files
from eagleray.runs.diagnostics import diagnostics_path, read_diagnostics, write_diagnostics
from eagleray.runs.evaluation import evaluated, read_evaluations, read_units
from eagleray.task import InputError, LabelLayer, LabelLayers


@pytest.fixture
def run(tmp_path):
    return write_run(str(tmp_path), FakeRun("exp", "main-0", points=2, pictures=3, layers=7))


def test_diagnostics_are_read_as_they_were_written(run):
    made = made_up_diagnostics(0.5)
    write_diagnostics(run, "val", "last", made)
    assert read_diagnostics(run, "val", "last") == made
    assert evaluated(run, "val") == ["best"], "they are no results"
    assert read_diagnostics(run, "val", "initial") == []


@pytest.mark.parametrize("content", [b"", b"[{}]", b'[{"kind": "matrix"}]', b"{"])
def test_damaged_diagnostics_are_named(run, content):
    path = diagnostics_path("val", "best")
    run.write(path, content)
    with pytest.raises(InputError, match=path):
        read_diagnostics(run, "val", "best")


def test_labels_are_exact_beyond_255_segments():
    ids = np.arange(600).reshape(20, 30)
    layers = LabelLayers(["a"], np.zeros((1, 3), np.uint8), {"truth": LabelLayer(ids, [0] * 599)})
    files = layer_files("u", layers)
    stored = np.asarray(Image.open(io.BytesIO(files["layers/u.truth.png"]))).astype(int)
    assert (stored[..., 0] + 256 * stored[..., 1] == ids).all()
    assert len(json.loads(files["layers/u.json"])["layers"]["truth"]["classes"]) == 599


def test_labels_that_name_no_segment_are_refused():
    layer = LabelLayer(np.array([[2]]), [0])
    with pytest.raises(ValueError, match="holds segments 2"):
        layer_files("u", LabelLayers(["a"], np.zeros((1, 3), np.uint8), {"truth": layer}))


def test_units_have_their_labels(run):
    unit = read_units(run, read_evaluations(run)[0]).units[0]
    assert set(unit.layers) == {"truth", "prediction"} and set(unit.pictures) >= {"input"}
    told = json.loads(run.read(unit.legend.path))
    assert len(told["names"]) == len(draw_layers(np.random.default_rng(0), 40, 7).names)
