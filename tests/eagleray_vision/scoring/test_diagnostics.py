"""Kinds of mistakes of segments, curves, confusion and layers, on maps drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from eagleray.task import CurvesDiagnostic, MatrixDiagnostic, TableDiagnostic
from eagleray_vision.panoptic.label_space import VOID_CLASS, LabelSpace
from eagleray_vision.panoptic.panoptic_map import IndexedPanoptic
from eagleray_vision.scoring.diagnostics import (
    KINDS,
    panoptic_diagnostics,
    panoptic_layers,
    segment_row,
    semantic_layers,
)

ROAD, CAR, BUS = range(3)
SPACE = LabelSpace("three", ("road", "car", "bus"), 1, (7, 26, 28), ((1, 2, 3),) * 3)


def made(ids, categories, crowds=(), scores=()):
    count = len(categories) + 1
    is_crowd = np.zeros(count, bool)
    is_crowd[list(crowds)] = True
    known = np.ones(count, np.float32)
    known[1 : 1 + len(scores)] = scores
    return IndexedPanoptic(
        np.asarray(ids, np.int32), np.array([VOID_CLASS, *categories]), is_crowd, known
    )


def kinds(truth, found):
    row = segment_row(truth, found, 3)
    table = np.array(row["segment_kinds"]).reshape(3, len(KINDS))
    return {
        (SPACE.class_names[c], KINDS[k]): int(table[c, k]) for c, k in np.argwhere(table).tolist()
    }


LINE = np.arange(12)[None]
ONE = made(np.where(LINE < 8, 1, 0), [CAR])
TWO = made(np.where(LINE < 6, 1, 2), [CAR, CAR])


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        (ONE, ONE, {("car", "matched"): 1}),
        (ONE, made(np.zeros((1, 12)), []), {("car", "missed"): 1}),
        (ONE, made(np.where(LINE < 4, 1, np.where(LINE < 8, 2, 0)), [CAR, CAR]),
         {("car", "split"): 1}),
        (TWO, made(np.ones((1, 12)), [CAR]), {("car", "merged"): 2}),
        (ONE, made(np.where(LINE < 8, 1, 0), [BUS]), {("car", "other class"): 1}),
        (ONE, made(np.where(LINE < 3, 1, 0), [CAR]), {("car", "outline"): 1}),
        (made(np.where(LINE < 8, 1, 2), [CAR, ROAD]), made(np.where(LINE < 8, 1, 0), [CAR]),
         {("car", "matched"): 1, ("road", "missed"): 1}),
        (made(np.where(LINE < 8, 1, 2), [CAR, ROAD]),
         made(np.where(LINE < 8, 1, np.where(LINE < 10, 2, 3)), [CAR, BUS, ROAD]),
         {("car", "matched"): 1, ("road", "outline"): 1, ("bus", "false"): 1}),
        (made(np.ones((1, 12)), [CAR], crowds=[1]), made(np.ones((1, 12)), [CAR]), {}),
        (made(np.zeros((1, 12)), []), made(np.ones((1, 12)), [CAR]), {}),
    ],
)  # fmt: skip
def test_every_segment_is_of_one_kind(truth, found, expected):
    assert kinds(truth, found) == expected


def rows():
    confusion = np.zeros((3, 4), int)
    confusion[CAR] = [1, 6, 2, 1]
    found = made(np.where(LINE < 8, 1, 2), [CAR, CAR], scores=(0.9, 0.4))
    truth = made(np.where(LINE < 8, 1, 2), [CAR, ROAD])
    return [{"confusion": confusion.ravel().tolist(), **segment_row(truth, found, 3)}]


def test_a_split_gives_confusion_kinds_and_curves():
    matrix, pixels, errors, curves = panoptic_diagnostics(rows(), SPACE)
    assert isinstance(matrix, MatrixDiagnostic)
    assert matrix.rows == ("road", "car", "bus") and matrix.columns[-1] == "void"
    assert matrix.values[1] == (1, 6, 2, 1)
    assert isinstance(pixels, TableDiagnostic)
    assert pixels.rows["car"] == pytest.approx((60.0, 100.0, 60.0, 100.0, 20.0))
    assert pixels.rows["bus"][2] is None, "no pixel of it is true"
    assert errors.rows["(all)"] == (1, 0, 0, 0, 1, 0, 0)
    assert isinstance(curves, CurvesDiagnostic)
    assert curves.lines["car"] == ((100.0, 100.0), (100.0, 50.0))
    assert "bus" not in curves.lines


def test_without_any_thing_there_are_no_curves():
    row = {**rows()[0], "found_classes": [], "found_scores": [], "found_matched": []}
    assert len(panoptic_diagnostics([row], SPACE)) == 3
    assert len(panoptic_diagnostics([], SPACE)) == 3


def test_layers_leave_out_void_and_crowds_and_count_from_one():
    ids = np.array([[0, 1, 2, 3]])
    found = made(ids, [ROAD, CAR, BUS], crowds=[2], scores=(1.0, 0.5, 0.25))
    photo = np.zeros((1, 4, 3), np.uint8)
    layers = panoptic_layers(photo, {"truth": None, "prediction": found}, SPACE)
    assert list(layers.layers) == ["prediction"]
    layer = layers.layers["prediction"]
    assert layer.ids.tolist() == [[0, 1, 0, 2]]
    assert (list(layer.classes), list(layer.scores)) == ([ROAD, BUS], [1.0, 0.25])
    assert panoptic_layers(None, {"prediction": found}, SPACE) is None


def test_semantic_layers_have_a_segment_per_class():
    classes = np.array([[0, 2, 255]])
    layers = semantic_layers(
        {"truth": None, "prediction": classes}, SPACE.class_names, SPACE.colors
    )
    assert layers.layers["prediction"].ids.tolist() == [[1, 3, 0]]
