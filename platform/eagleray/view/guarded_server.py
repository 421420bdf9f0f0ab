"""viser's server behind the request guard, and without its tunnel to the public.

viser 1.x offers no hook for refusing requests, but it hands its own request handler to the
websockets library, which asks it before every answer and every handshake. While the server starts
that handler is put behind ours. A viser that starts its server otherwise is noticed, and not
served.

viser 1.x also sets the event that its loop waits for from whatever thread sends a message, which
asyncio forbids: now and then a window stayed empty. Its buffers get an event that knows better.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import viser
import websockets.asyncio.server
from viser.infra import _infra
from viser.infra._async_message_buffer import AsyncMessageBuffer
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from eagleray.listening import GuardedRequest, Refusal, RequestGuard
from eagleray.task import SettingsError

COOKIE = "eagleray_view_token"
_POLICY = "frame-ancestors 'none'"
_WAITING = (
    b"<style>html:not(:has(#root > *))::before { content: 'Loading the viewer \\2026'; "
    b"position: fixed; inset: 40% 0 auto; text-align: center; font: 18px system-ui, sans-serif; "
    b"color: #5b6675 }</style>"
)
"""Shown until viser's program, which comes packed inside of its page, has drawn anything."""


class _LoopEvent(asyncio.Event):
    """An event that only its loop's thread sets.

    Another thread would walk the list of waiters while the loop changes it, and the sender would
    get "deque mutated during iteration". Nothing waits longer for it: viser sets its event twice,
    at once and through the loop.
    """

    def set(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        super().set()


class SteadyBuffer(AsyncMessageBuffer):  # type: ignore[misc]  # untyped
    """viser's buffer of messages to a window, for senders in any thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.message_event = _LoopEvent()


_infra.AsyncMessageBuffer = SteadyBuffer


class GuardedServer(viser.ViserServer):  # type: ignore[misc]  # untyped
    """A viser server that answers only whom the guard lets through.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        label: Title of the page.
        token: Who knows it may look; None lets this machine look and nobody else.

    Raises:
        SettingsError: This viser cannot be guarded.
    """

    def __init__(self, *, host: str, port: int, label: str, token: str | None) -> None:
        request_guard = RequestGuard("viewer", token, cookie=COOKIE, policy=_POLICY)
        with _guarded(request_guard) as guards, contextlib.redirect_stdout(io.StringIO()):
            super().__init__(host=host, port=port, label=label, verbose=False)
        if not guards:
            self.stop()
            raise SettingsError(
                f"viser {viser.__version__} starts its server in a way that cannot be guarded; "
                "install the version in constraints.txt"
            )

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Refuse to open viser's tunnel to the public, which any visitor's page could ask for."""
        return None


@contextlib.contextmanager
def _guarded(guard: RequestGuard) -> Iterator[list[str]]:
    """Put the guard before every server that is started meanwhile; yields what it guards."""
    guards: list[str] = []
    start: Callable[..., Any] = websockets.asyncio.server.serve

    def serve(
        *args: Any, process_request: Callable[..., Response | None] | None = None, **options: Any
    ) -> Any:
        def answer(connection: Any, request: Request) -> Response | None:
            refusal = guard.refusal(_asked(request))
            response = None if refusal is None else _response(refusal)
            if response is None and process_request is not None:
                response = process_request(connection, request)
            if response is not None:
                if refusal is None and "html" in response.headers.get("Content-Type", ""):
                    _say_that_it_loads(response)
                for name, value in guard.headers.items():
                    response.headers[name] = value
            return response

        guards.append("server")
        return start(*args, process_request=answer, **options)

    websockets.asyncio.server.serve = serve  # type: ignore[assignment,misc]
    try:
        yield guards
    finally:
        websockets.asyncio.server.serve = start  # type: ignore[assignment,misc]


def _say_that_it_loads(response: Response) -> None:
    is_packed = response.headers.get("Content-Encoding") == "gzip"
    response.body = _with_word(bytes(response.body or b""), is_packed=is_packed)
    del response.headers["Content-Length"]
    response.headers["Content-Length"] = str(len(response.body))


@lru_cache(maxsize=4)
def _with_word(page: bytes, *, is_packed: bool) -> bytes:
    text = gzip.decompress(page) if is_packed else page
    text = text.replace(b"<head>", b"<head>" + _WAITING, 1)
    return gzip.compress(text) if is_packed else text


def _asked(request: Request) -> GuardedRequest:
    lists = (request.headers.get_all(name) for name in ("Host", "Origin", "Cookie"))
    return GuardedRequest(request.path, *lists)


def _response(refusal: Refusal) -> Response:
    body = refusal.text.encode()
    headers = Headers(
        {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    for name, value in refusal.headers.items():
        headers[name] = value
    return Response(int(refusal.status), refusal.status.phrase, headers, body)
