"""Records as Parquet and back, for every kind of column."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from eagleray.prepare.columns import arrow_schema, row_at, to_parquet, to_table
from eagleray.task import InputError, Record, SettingsError

KINDS = {
    "text": "string", "raw": "binary", "flag": "bool", "count": "int64", "small": "uint8",
    "half": "float16", "value": "float32", "exact": "float64", "ids": "list<int32>",
    "vector": "list<float32>", "words": "list<string>",
    "polygons": "list<list<float64>>", "boxes": "list<list<int32>>",
}  # fmt: skip
ROW = {
    "text": "Straße", "raw": b"\x00\xff", "flag": True, "count": -(2**62), "small": 255,
    "half": np.float16(0.5), "value": np.float32(0.1), "exact": 0.1, "ids": np.array([3, -4]),
    "vector": [0.5, 1.5], "words": ["a", ""],
    "polygons": [[0.0, 1.0], []], "boxes": [[1, 2], [], np.array([3.0])],
}  # fmt: skip


def round_trip(rows, kinds=KINDS):
    schema = arrow_schema(kinds)
    content = to_parquet([to_table([Record("k", row)], "i", schema) for row in rows], schema)
    table = pq.read_table(io.BytesIO(content))
    return [row_at(table, i) for i in range(len(table))], content


def test_values_of_every_kind_come_back():
    (row,), _ = round_trip([ROW])
    assert row.keys() == ROW.keys()
    for name in ("text", "raw", "flag", "count", "small", "exact", "words", "polygons", "boxes"):
        assert row[name] == ROW[name], name
    assert row["value"] == float(np.float32(0.1)) and float(row["half"]) == 0.5
    assert row["ids"].dtype == np.int32 and row["ids"].tolist() == [3, -4]
    assert row["vector"].dtype == np.float32 and row["vector"].tolist() == [0.5, 1.5]


@pytest.mark.parametrize("three", [3, 3.0, np.float32(3), np.int8(3), np.float64(3)])
def test_whole_numbers_of_any_type_fit_into_integer_columns(three):
    (row,), _ = round_trip([{**ROW, "count": three, "ids": [three], "boxes": [[three]]}])
    assert (row["count"], row["ids"].tolist(), row["boxes"]) == (3, [3], [[3]])


def test_missing_values_come_back_as_none():
    (row,), _ = round_trip([dict.fromkeys(ROW)])
    assert set(row.values()) == {None}


def test_empty_lists_keep_their_type():
    (row,), _ = round_trip([{**ROW, "ids": [], "vector": np.empty(0)}])
    assert row["ids"].shape == (0,) and row["ids"].dtype == np.int32


def test_equal_records_give_equal_bytes():
    assert round_trip([ROW] * 3)[1] == round_trip([ROW] * 3)[1]


def test_no_records_give_a_readable_file():
    rows, content = round_trip([])
    assert rows == [] and pq.read_schema(io.BytesIO(content)).names[2:] == list(KINDS)


@pytest.mark.parametrize(("size", "groups"), [(500_000, 2), (524_288, 40)])
def test_large_rows_are_row_groups_of_their_own(size, groups):
    rows = [{"raw": bytes([i]) * size} for i in range(40)]
    back, content = round_trip(rows, {"raw": "binary"})
    assert back == rows
    assert pq.ParquetFile(io.BytesIO(content)).num_row_groups == groups


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 2**63),
        ("count", 0.5),
        ("count", np.float32(0.5)),
        ("count", float("nan")),
        ("small", -1),
        ("ids", [0.5]),
        ("ids", np.array([1.0, np.nan])),
        ("boxes", [[1, 2], [0.5]]),
        ("boxes", [np.array([0.25])]),
        ("text", 3),
        ("vector", "abc"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_an_input_error(name, value):
    with pytest.raises(InputError, match=repr(name)):
        round_trip([{**ROW, name: value}])


@pytest.mark.parametrize("kind", ["tensor", "list<", "int", "list<image>", ""])
def test_unknown_types_are_refused_with_the_allowed_ones(kind):
    with pytest.raises(SettingsError, match="float32"):
        arrow_schema({"x": kind})
