"""Log lines as JSON, with what they are about."""

from __future__ import annotations

import io
import json
import logging

import pytest
from tests.eagleray.stages import Squares, run
from tests.eagleray.train.workers import train_here

from eagleray import log_lines
from eagleray.progress import PlainLines


@pytest.fixture
def spoken(monkeypatch):
    """What the engine says, as this process would write it."""
    monkeypatch.setenv(log_lines.FORMAT_VARIABLE, "json")
    monkeypatch.setattr(log_lines, "_of_process", {})
    logger = logging.getLogger("eagleray")
    before = logger.level, logger.propagate, list(logger.handlers)
    stream = io.StringIO()
    log_lines.speak_json(stream)
    log_lines.speak_json(stream)  # once is enough
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.level, logger.propagate, logger.handlers = before


def test_lines_name_stage_and_shard(spoken, tmp_path):
    run(Squares(8, bad=[3]), tmp_path, items_per_shard=4)
    lines = [line for line in spoken() if "committed" in line["message"]]
    shards = {p.stem for p in tmp_path.rglob("markers/*.json")}
    assert {line["shard"] for line in lines} == shards and len(lines) == len(shards)
    assert {line["stage"] for line in lines} == {"squares"}
    assert sum("1 of them rejected" in line["message"] for line in lines) == 1


def test_lines_of_training_name_run_and_rank_and_no_stage(spoken, tmp_path):
    log_lines.name_process(stage="squares")
    train_here(tmp_path / "runs/tiny/main-1a2b3c4d", {"steps": 2})
    logging.getLogger("eagleray.somebody").warning("said %d times", 2)
    line = spoken()[-1]
    about = {key: line.get(key) for key in ("run", "rank", "stage", "message", "level")}
    assert about == {
        "run": "tiny/main-1a2b3c4d",
        "rank": 0,
        "stage": None,
        "message": "said 2 times",
        "level": "WARNING",
    }


def test_a_traceback_is_one_field(spoken):
    try:
        raise ZeroDivisionError("on purpose")
    except ZeroDivisionError:
        logging.getLogger("eagleray.somebody").exception("it failed")
    (line,) = spoken()
    assert line["trace"].endswith("ZeroDivisionError: on purpose")


def test_progress_gives_its_numbers(spoken, capsys):
    lines = PlainLines()
    lines.note("before")
    lines.start("squares:train", 8)
    lines.advance(8, rejected=1)
    lines.finish()
    before, first, last = map(json.loads, capsys.readouterr().err.splitlines())
    assert before["message"] == "before" and "job" not in before
    assert (first["job"], first["done"], first["total"]) == ("squares:train", 0, 8)
    assert (last["done"], last["rejected"]) == (8, 1)


def test_nothing_changes_where_json_is_not_asked_for(monkeypatch, capsys):
    monkeypatch.delenv(log_lines.FORMAT_VARIABLE, raising=False)
    handlers = list(logging.getLogger("eagleray").handlers)
    log_lines.speak_json()
    assert logging.getLogger("eagleray").handlers == handlers
    PlainLines().note("plain")
    assert capsys.readouterr().err == "plain\n"
    assert not isinstance(log_lines.line_formatter(), log_lines.JsonFormatter)
