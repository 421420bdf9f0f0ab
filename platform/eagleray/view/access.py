"""Who may look through the viewer: this machine only, or whoever knows the token.

Every request passes here before viser sees it, the web socket's handshake included:

- On a loopback address the ``Host`` header must name this machine, so that a web page elsewhere
  cannot reach the viewer by pointing a name of its own at it.
- On any other address a token is needed: once in the address (``?token=``), then in a cookie that
  scripts cannot read.
- Browsers say which page opens a web socket (``Origin``): it must be the viewer's own.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from eagleray.listening import is_loopback

COOKIE = "eagleray_view_token"
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


class Doorkeeper:
    """Decides about requests.

    Args:
        token: Who knows it may look; None lets this machine look and nobody else.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request that viser shall not see, None for those it shall."""
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1:
            return _answer(HTTPStatus.BAD_REQUEST, "One Host header is needed.\n")
        host = hosts[0]
        for origin in request.headers.get_all("Origin"):
            if urlsplit(origin).netloc != host:
                return _answer(HTTPStatus.FORBIDDEN, "Only the viewer's own page may ask.\n")
        if self._token is None:
            if is_loopback(_name(host)):
                return None
            return _answer(HTTPStatus.FORBIDDEN, "This viewer answers on this machine only.\n")
        return self._refusal_by_token(request, self._token)

    def protect(self, response: Response) -> Response:
        """Add to an answer what tells browsers to keep the page to itself."""
        for name, value in _HEADERS.items():
            response.headers[name] = value
        return response

    def _refusal_by_token(self, request: Request, token: str) -> Response | None:
        if any(_same(known, token) for known in _cookies(request)):
            return None
        path, _, query = request.path.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        if not any(name == "token" and _same(value, token) for name, value in pairs):
            return _answer(
                HTTPStatus.UNAUTHORIZED, "A token is needed: open the address that was printed.\n"
            )
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        answer = _answer(HTTPStatus.FOUND, "")
        answer.headers["Location"] = "/" + path.lstrip("/\\") + (f"?{rest}" if rest else "")
        answer.headers["Set-Cookie"] = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
        return answer


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookies(request: Request) -> list[str]:
    found = []
    for header in request.headers.get_all("Cookie"):
        try:
            cookie = SimpleCookie(header).get(COOKIE)
        except CookieError:
            continue
        if cookie is not None:
            found.append(cookie.value)
    return found


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _answer(status: HTTPStatus, text: str) -> Response:
    body = text.encode()
    headers = Headers(
        {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    return Response(int(status), status.phrase, headers, body)
