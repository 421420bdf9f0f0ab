"""Typed rows out of a JSON array, cut anywhere."""

import json

import msgspec
import pytest

from eagleray.task import InputError
from eagleray_vision.json_rows import read_rows


class Row(msgspec.Struct):
    token: str
    nested: list[dict[str, int]] = []


ROWS = [
    {"token": 'a}, {"token": "b', "ignored": {"x": [{}, {}]}, "nested": [{"y": 1}, {"z": 2}]},
    {"token": "\\", "nested": []},
    {"nested": [{"token": 3}, {"token": 4}], "token": "é}\n,{"},
    *({"token": f"{k}", "nested": [{"k": k}] * 3} for k in range(40)),
]


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1000, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
def test_every_cut_gives_the_same_rows(tmp_path, chunk, indent):
    path = tmp_path / "t.json"
    path.write_text(" \n" + json.dumps(ROWS, indent=indent, ensure_ascii=False) + "\n")
    rows = [one for part in read_rows(path, Row, InputError, chunk_bytes=chunk) for one in part]
    assert [(r.token, r.nested) for r in rows] == [(r["token"], r["nested"]) for r in ROWS]


@pytest.mark.parametrize(
    "text",
    [
        '{"token": "a"}',
        '[{"token": "a"}',
        '[{"token": 1}]',
        "[{}]",
        "[{},]",
        "",
        '[{"token": "a"}] x',
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    for chunk in (3, 1 << 20):
        with pytest.raises(InputError, match=r"t\.json"):
            list(read_rows(path, Row, InputError, chunk_bytes=chunk))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_rows(tmp_path / "none.json", Row, InputError))


def test_empty_table(tmp_path):
    path = tmp_path / "t.json"
    path.write_text("[\n]")
    assert list(read_rows(path, Row, InputError)) == [[]]
