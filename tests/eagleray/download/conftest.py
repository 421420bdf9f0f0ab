"""A file server on this machine that cuts connections, forgets ranges and lies on request."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eagleray.download import transfer
from eagleray.task import Download

CONTENT = bytes(range(256)) * 20_000  # 5 MB, and no two neighbouring pieces alike
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Behavior:
    """What the server does."""

    content: bytes = CONTENT
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which successive answers are cut off."""
    with_ranges: bool = True
    version: str | None = '"v1"'
    status: int = 200
    content_type: str = "application/octet-stream"
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0


class Handler(BaseHTTPRequestHandler):
    """Serves one file at every path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_): ...

    def do_GET(self):
        how = self.server.how
        how.requests.append(dict(self.headers))
        start = self._start(how)
        if how.status != 200:
            self.send_error(how.status)
            return
        if start is not None and start >= len(how.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(how.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = how.content[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Type", how.content_type)
        self.send_header("Content-Length", str(len(body)))
        if start is not None:
            end = f"{start}-{len(how.content) - 1}/{len(how.content)}"
            self.send_header("Content-Range", f"bytes {end}")
        if how.version:
            self.send_header("ETag", how.version)
        self.end_headers()
        piece = body[: how.cut_after.pop(0)] if how.cut_after else body
        how.sent += len(piece)
        self.wfile.write(piece)
        if len(piece) < len(body):
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()

    def _start(self, how):
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if not wanted or not how.with_ranges or (condition and condition != how.version):
            return None
        return int(wanted.removeprefix("bytes=").rstrip("-"))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "_PAUSE_S", 0.0)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.how = Behavior()
    http.handle_error = lambda *_: None  # a client that hangs up is no fault here
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def record(server):
    """Make a record of the served file."""

    def make(**values):
        defaults = {
            "name": "weights",
            "summary": "weights for a test",
            "url": f"http://127.0.0.1:{server.server_port}/weights.pt",
            "license": "CC0",
            "file": "weights.pt",
            "checksum": f"sha256:{SHA256}",
        }
        return Download(**{**defaults, **values})

    return make
