"""Progress on a terminal and in a log."""

from __future__ import annotations

import io

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
    assert "left 0:00:00" in text[1]
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
