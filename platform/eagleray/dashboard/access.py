"""The request guard before the dashboard's web server."""

from __future__ import annotations

from urllib.parse import quote

import flask

from eagleray.listening import GuardedRequest, RequestGuard

COOKIE = "eagleray_token"


def guard(server: flask.Flask, token: str | None, policy: str) -> None:
    """Refuse requests that have no right to be answered, and tell browsers to load nothing else.

    Args:
        server: The web server.
        token: Who knows it may look; None lets this machine look and nobody else.
        policy: The content security policy of every answer.
    """
    request_guard = RequestGuard("dashboard", token, cookie=COOKIE, policy=policy)

    @server.before_request
    def check() -> flask.Response | None:
        refusal = request_guard.refusal(_guarded(flask.request))
        if refusal is None:
            return None
        return flask.Response(refusal.text, refusal.status, dict(refusal.headers))

    @server.after_request
    def protect(response: flask.Response) -> flask.Response:
        response.headers.update(request_guard.headers)
        return response


def _guarded(request: flask.Request) -> GuardedRequest:
    query = request.query_string.decode(errors="replace")
    lists = (request.headers.getlist(name) for name in ("Host", "Origin", "Cookie"))
    return GuardedRequest(quote(request.path) + (f"?{query}" if query else ""), *lists)
