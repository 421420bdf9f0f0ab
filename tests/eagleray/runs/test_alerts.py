"""A webhook hears how work on a run ends, and never ends it."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from eagleray.runs import provenance
from eagleray.runs.alerts import WEBHOOK
from eagleray.runs.provenance import read_commands, recorded
from eagleray.storage import Store


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_source_folders", lambda plugin: [])
    monkeypatch.setattr(provenance, "installed_packages", lambda: "")
    return Store(str(tmp_path / "exp" / "main-1"))


@pytest.fixture
def webhook(monkeypatch):
    """A web server of this machine that keeps what it is told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{server.server_port}/hook")
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_hears_of_the_end_and_of_a_failure(run, webhook):
    with recorded(run, "train"):
        pass
    with pytest.raises(ZeroDivisionError), recorded(run, "evaluate"):
        raise ZeroDivisionError
    assert [(m["run"], m["part"], m["outcome"]) for m in webhook] == [
        ("exp/main-1", "train", "done"),
        ("exp/main-1", "evaluate", "ZeroDivisionError"),
    ]
    assert webhook[1]["text"].startswith(
        "eagleray: evaluate of exp/main-1 ended by ZeroDivisionError after 0.0 min on "
    )


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9/secret", "no answer"),
        ("file:///etc/hostname", "is no http(s) address"),
        ("http://[", "no http"),
    ],
)
def test_an_address_that_does_not_answer_is_a_warning(run, monkeypatch, caplog, address, reason):
    monkeypatch.setenv(WEBHOOK, address)
    with caplog.at_level(logging.WARNING), recorded(run, "train"):
        pass
    assert reason in caplog.text
    assert "secret" not in caplog.text
    assert read_commands(run)[0].outcome == "done"


def test_a_refusal_is_a_warning_with_its_status(run, webhook, monkeypatch, caplog):
    import os

    monkeypatch.setenv(WEBHOOK, os.environ[WEBHOOK].replace("/hook", "/broken"))
    with caplog.at_level(logging.WARNING), recorded(run, "train"):
        pass
    assert "status 500" in caplog.text
