"""An S3 of its own for tests: ``python -m tests.cluster.object_store PORT``.

A part of the requests may be made to fail, as an object store's do: refused with 503, cut off
before anything has been done, or done and cut off before the answer.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "experiments"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_CONTROL = "/_control"
_PATIENCE_S = 240
HOW = ("answered", "refused", "cut", "answer lost")
"""What may become of a request."""
_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>later</Message></Error>"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Failing:
    """Lets a part of the requests to an application fail, and all of them wait: as many and as long
    as the last request to ``_CONTROL`` said, which is answered with what has happened since the one
    before.

    Args:
        application: What answers.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._part = self._delay_s = 0.0
        self._chance, self._lock = random.Random(0), threading.Lock()
        self._counts = dict.fromkeys(HOW, 0)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == _CONTROL:
            answer = json.dumps(self._counts).encode()
            self._part, self._delay_s = json.loads(unquote(environ["QUERY_STRING"]))
            self._counts = dict.fromkeys(HOW, 0)
            start("200 OK", [("Content-Length", str(len(answer)))])
            return [answer]
        time.sleep(self._delay_s)
        with self._lock:
            fails = self._chance.random() < self._part
            how = self._chance.choice(HOW[1:]) if fails else HOW[0]
            self._counts[how] += 1
        if how == "refused":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Length", str(len(_SLOW_DOWN)))])
            return [_SLOW_DOWN]
        if how == "cut":
            return self._cut(environ)
        answer = self._application(environ, start)
        return self._cut(environ) if how == "answer lost" else answer

    def _cut(self, environ: dict[str, Any]) -> Iterable[bytes]:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError("cut off on purpose")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class ObjectStore:
    """An S3 with a bucket, in a process of its own.

    Attributes:
        environment: Variables that let a process find it.
    """

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self.environment = {"AWS_ENDPOINT_URL": self._url, **KEYS}
        command = [sys.executable, "-m", "tests.cluster.object_store", str(port)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.control()
            except OSError as error:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise RuntimeError(f"no object store at {self._url}") from error
                time.sleep(0.2)
            else:
                return

    def control(self, failing: float = 0.0, delay_s: float = 0.0) -> dict[str, int]:
        """Let a part of the requests fail and all of them take so long, from now on; return what
        has become of those before, by ``HOW``.
        """
        asked = f"{self._url}{_CONTROL}?{quote(json.dumps([failing, delay_s]))}"
        with urllib.request.urlopen(asked, timeout=30) as answer:
            counts: dict[str, int] = json.loads(answer.read())
        return counts

    def close(self) -> None:
        """End it; what it held is gone."""
        self._process.terminate()
        self._process.wait(30)


def main() -> None:
    """Serve until killed."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple

    port = int(sys.argv[1])
    os.environ["MOTO_PORT"] = str(port)
    application = DomainDispatcherApplication(create_backend_app)
    _make_bucket(application)
    run_simple(
        "127.0.0.1", port, Failing(application), threaded=True, request_handler=MotoRequestHandler
    )


def _make_bucket(application: Any) -> None:
    from werkzeug.test import Client

    answer = Client(application).put(
        f"/{BUCKET}",
        headers={
            "Host": "s3.us-east-1.amazonaws.com",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request",
        },
    )
    if answer.status_code != 200:
        raise RuntimeError(f"no bucket: {answer.status} {answer.text}")


if __name__ == "__main__":
    main()
