"""Progress on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from eagleray import progress


def test_plain_lines_tell_rate_time_left_and_information(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_EVERY_S", 0.0)
    lines = progress.PlainLines()
    lines.start("prepare squares", 4)
    lines.advance(2, rejects=1)
    lines.advance(2, loss=0.123456)
    lines.finish()
    text = capsys.readouterr().err.splitlines()
    assert text[0] == "prepare squares: 0/4"
    assert "2/4" in text[1]
    assert text[-1].endswith("rejects=1 loss=0.1235")


def test_live_bar_draws_on_a_terminal():
    stream = io.StringIO()
    bar = progress.LiveBar(Console(file=stream, force_terminal=True, width=120))
    bar.start("train", 2)
    bar.advance(1, loss=0.5)
    bar.note("half way")
    bar.advance(1)
    bar.finish()
    assert "train" in stream.getvalue()
    assert "loss=0.5" in stream.getvalue()
    assert "half way" in stream.getvalue()


def test_what_an_earlier_call_did_makes_no_rate():
    rate = progress.Rate(100.0)
    rate.add(5000, 100.1)
    assert rate.per_second(100.1) is None
    rate.add(2, 100.7)
    assert rate.per_second(100.8) is None, "too early to say"
    rate.add(2, 102.1)
    assert rate.per_second(102.1) == pytest.approx(4 / 2.0)


def test_a_line_says_rate_and_time_left_once_they_are_known(capsys, monkeypatch):
    seconds = iter([0.0, 0.1, 10.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    lines = progress.PlainLines()
    lines.start("train main", 100)
    lines.advance(40)
    lines.advance(20)
    lines.advance(20)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "train main: 60/100 2.02/s left 0:00:20",
        "train main: 80/100 2.01/s left 0:00:10",
    ]


def test_names_on_a_terminal_are_no_markup():
    stream = io.StringIO()
    bar = progress.LiveBar(Console(file=stream, force_terminal=True, width=120))
    bar.start("panoptic_labels:train", 2)
    bar.advance(1, phase=":train:")
    bar.note("stage labels:train: [bold]x")
    bar.finish()
    text = stream.getvalue()
    assert "panoptic_labels:train" in text
    assert "phase=:train:" in text
    assert "labels:train: [bold]x" in text
