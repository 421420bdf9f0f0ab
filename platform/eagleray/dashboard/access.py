"""Who may look: this machine only, or whoever knows the token.

On a loopback address the ``Host`` header must name this machine, so that a web page elsewhere
cannot read the dashboard by pointing a name of its own at it. On any other address a token is
needed: once in the address (``?token=``), then in a cookie that scripts cannot read.
"""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlsplit

import flask

from eagleray.listening import is_loopback

COOKIE = "eagleray_token"


def guard(server: flask.Flask, token: str | None, policy: str) -> None:
    """Refuse requests that have no right to be answered, and tell browsers to load nothing else.

    Args:
        server: The web server.
        token: Who knows it may look; None lets this machine look and nobody else.
        policy: The content security policy of every answer.
    """

    @server.before_request
    def check() -> Any:
        if token is None:
            host = urlsplit(f"//{flask.request.host}").hostname or ""
            if is_loopback(host):
                return None
            return flask.Response("This dashboard answers on this machine only.\n", 403)
        given = flask.request.args.get("token", "")
        if given and hmac.compare_digest(given.encode(), token.encode()):
            return _remember(token)
        known = flask.request.cookies.get(COOKIE, "")
        if hmac.compare_digest(known.encode(), token.encode()):
            return None
        return flask.Response("A token is needed: open the address that was printed.\n", 401)

    @server.after_request
    def protect(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def _remember(token: str) -> flask.Response:
    query = flask.request.args.to_dict(flat=False)
    query.pop("token")
    pairs = [(name, value) for name, values in query.items() for value in values]
    clean = flask.request.path.lstrip("/\\") + ("?" + _encode(pairs) if pairs else "")
    response = flask.redirect(f"/{clean}")
    response.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
    return flask.make_response(response)


def _encode(pairs: list[tuple[str, str]]) -> str:
    from urllib.parse import urlencode

    return urlencode(pairs)
