"""Log lines on an object store."""

from __future__ import annotations

import logging

from eagleray.runs import store_log
from eagleray.runs.store_log import StoreLog
from eagleray.storage import Store


def test_lines_reach_the_store_and_the_oldest_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(store_log, "_MOST_LINES", 3)
    run = Store(f"memory://{tmp_path.name}")
    log, logger = StoreLog(run, "log/1.0001.log"), logging.getLogger("eagleray.test_store_log")
    logger.addHandler(log)
    try:
        for number in range(5):
            logger.warning("line %d", number)
    finally:
        logger.removeHandler(log)
        log.close()
    text = run.read("log/1.0001.log").decode()
    assert text.splitlines() == ["... 2 lines before", "line 2", "line 3", "line 4"]


def test_storage_that_refuses_ends_nothing(tmp_path, monkeypatch):
    def refuse(self, path, content):
        raise OSError("no")

    monkeypatch.setattr(Store, "write", refuse)
    log = StoreLog(Store(str(tmp_path)), "log/0.log")
    log.emit(logging.LogRecord("x", logging.WARNING, "x", 1, "lost", None, None))
    log.close()
