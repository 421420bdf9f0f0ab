"""Reading what a run has logged, also where files are damaged or attempts overlap."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eagleray.runs.metrics import LIVE, parse_segments, read_history
from eagleray.storage import Store


def line(step, kind="train", phase="main", **values):
    return json.dumps({"kind": kind, "phase": phase, "total_step": step, **values})


def segment(*lines):
    return ("\n".join(lines) + "\n").encode()


def test_a_run_without_metrics_has_an_empty_history(tmp_path):
    history = read_history(Store(str(tmp_path)))
    assert len(history) == 0
    assert history.last() == {}
    assert [len(part) for part in history.curve("train/loss")] == [0, 0]


def test_per_step_the_highest_attempt_counts():
    history = parse_segments(
        {
            "metrics/0010-00000002.jsonl": segment(line(2, loss=20.0), line(3, loss=30.0)),
            "metrics/0009-00000001.jsonl": segment(*(line(s, loss=float(s)) for s in (1, 2, 3, 4))),
        }
    )
    assert history.steps.tolist() == [1, 2, 3, 4]
    assert history.columns["train/loss"].tolist() == [1.0, 20.0, 30.0, 4.0]
    assert history.attempts == 10


def test_an_attempt_replaces_whole_lines_of_its_kind_only():
    history = parse_segments(
        {
            "metrics/0001-0.jsonl": segment(
                line(5, loss=1.0, old=7.0), line(5, "validate", miou=0.5)
            ),
            "metrics/0002-0.jsonl": segment(line(5, loss=2.0)),
        }
    )
    assert history.last() == {"train/loss": 2.0, "validate/miou": 0.5}


@pytest.mark.parametrize(
    "damage",
    [
        b'{"total_step": 3, "lo',
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'"text"',
        b'{"loss": 1}',
        b'{"total_step": "3"}',
    ],
)
def test_what_cannot_be_read_is_counted_and_the_rest_kept(damage):
    content = segment(line(1, loss=1.0)) + damage + b"\n" + segment(line(2, loss=2.0))
    history = parse_segments({"metrics/0001-0.jsonl": content})
    assert history.columns["train/loss"].tolist() == [1.0, 2.0]
    assert history.damaged_lines == 1


def test_nested_names_are_joined_and_text_is_left_out():
    history = parse_segments(
        {"metrics/0001-0.jsonl": segment(line(1, losses={"mask": 1, "class": None}, note="x"))}
    )
    assert list(history.columns) == ["train/losses/mask"]


def test_gaps_are_not_drawn_and_values_that_are_not_finite_are_no_last_value():
    text = segment(line(1, loss=1.0), line(2, lr=0.1), '{"total_step": 3, "loss": Infinity}')
    history = parse_segments({"metrics/0001-0.jsonl": text})
    steps, values = history.curve("train/loss")
    assert steps.tolist() == [1.0, 3.0]
    assert values.tolist() == [1.0, np.inf]
    assert history.last()["train/loss"] == 1.0


def test_the_newest_line_is_seen_before_its_segment_is_written(tmp_path):
    run = Store(str(tmp_path))
    run.write("metrics/0001-00000000.jsonl", segment(line(10, loss=1.0)))
    run.write(LIVE, line(20, loss=0.5).encode())
    assert read_history(run).last() == {"train/loss": 0.5}
    run.write("metrics/0001-00000011.jsonl", segment(line(20, loss=0.4), line(30, loss=0.3)))
    assert read_history(run).columns["train/loss"].tolist() == [1.0, 0.4, 0.3]


def test_time_begins_with_the_first_entry():
    history = parse_segments(
        {
            "metrics/0001-0.jsonl": segment(
                line(1, time=100.0, loss=1.0), line(2, time=160.0, loss=2.0)
            )
        }
    )
    assert history.curve("train/loss", by_time=True)[0].tolist() == [0.0, 60.0]


def test_copies_beside_segments_are_passed_over_and_told(tmp_path, caplog):
    run = Store(str(tmp_path))
    line = '{"kind": "train", "phase": "main", "step": 1, "total_step": 1, "loss": 2.0}\n'
    run.write("metrics/0001-00000001.jsonl", line.encode())
    for name in ("0001-00000001.bak.jsonl", "copy.jsonl", "notes.txt"):
        run.write(f"metrics/{name}", line.replace("2.0", "9.0").encode())
    with caplog.at_level("WARNING"):
        assert read_history(run).last() == {"train/loss": 2.0}
        assert read_history(run).attempts == 1
    assert sum("passed over" in record.getMessage() for record in caplog.records) == 3
