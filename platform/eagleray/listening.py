"""Where the engine's servers listen, and who gets an answer: the dashboard and the viewer alike.

- On a loopback address the ``Host`` header must name this machine, so that a web page elsewhere
  cannot reach the server by pointing a name of its own at it.
- On any other address a token is needed: once in the address (``?token=``), then in a cookie that
  scripts cannot read.
- Browsers say which page asks (``Origin``), also when it opens a web socket: it must be the
  server's own.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from eagleray.contract.errors import SettingsError

_LAST_PORT = 65535
_LOCAL_NAMES = ("localhost", "ip6-localhost")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this machine's own, unreachable from outside."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in _LOCAL_NAMES


def checked_port(port: int) -> int:
    """Return a port that can be listened on, 0 for any free one.

    Raises:
        SettingsError: It is none.
    """
    if not 0 <= port <= _LAST_PORT:
        raise SettingsError(
            f"--port {port} is none; allowed are 1 to {_LAST_PORT}, 0 for a free one"
        )
    return port


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class GuardedRequest:
    """What the guard looks at of a request, whatever the web server.

    Args:
        target: Path with query, percent-encoded as in the request line.
        hosts: Values of all ``Host`` headers.
        origins: Values of all ``Origin`` headers.
        cookies: Values of all ``Cookie`` headers.
    """

    target: str
    hosts: Sequence[str]
    origins: Sequence[str]
    cookies: Sequence[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not let through."""

    status: HTTPStatus
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


class RequestGuard:
    """Decides about requests.

    Args:
        server: What is guarded, for its answers, such as ``viewer``.
        token: Who knows it may look; None lets this machine look and nobody else.
        cookie: Name of the cookie that remembers the token.
        policy: The content security policy of every answer.
    """

    def __init__(self, server: str, token: str | None, *, cookie: str, policy: str) -> None:
        self._server, self._token, self._cookie = server, token, cookie
        self.headers: Mapping[str, str] = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
        }
        """What every answer tells browsers, so that they keep the page to itself."""

    def refusal(self, request: GuardedRequest) -> Refusal | None:
        """Return the answer to a request that is not let through, None for others."""
        if len(request.hosts) != 1:
            return Refusal(HTTPStatus.BAD_REQUEST, "One Host header is needed.\n")
        host = request.hosts[0]
        if any(_netloc(origin) != host for origin in request.origins):
            text = f"Only the {self._server}'s own page may ask.\n"
            return Refusal(HTTPStatus.FORBIDDEN, text)
        if self._token is not None:
            return self._refusal_by_token(request, self._token)
        if is_loopback(_host_name(host)):
            return None
        text = f"This {self._server} answers on this machine only.\n"
        return Refusal(HTTPStatus.FORBIDDEN, text)

    def _refusal_by_token(self, request: GuardedRequest, token: str) -> Refusal | None:
        path, _, query = request.target.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        if any(name == "token" and _same(value, token) for name, value in pairs):
            headers = {
                "Location": _own_address(path, [pair for pair in pairs if pair[0] != "token"]),
                "Set-Cookie": f"{self._cookie}={token}; Path=/; HttpOnly; SameSite=Strict",
            }
            return Refusal(HTTPStatus.FOUND, "", headers)
        if any(_same(value, token) for value in _cookie_values(request.cookies, self._cookie)):
            return None
        text = "A token is needed: open the address that was printed.\n"
        return Refusal(HTTPStatus.UNAUTHORIZED, text)


def _own_address(path: str, pairs: list[tuple[str, str]]) -> str:
    """Return an address of this server.

    Browsers skip control characters, and take two slashes of any kind for another site.
    """
    plain = _CONTROL.sub("", unquote(path)).lstrip("/\\")
    return "/" + quote(plain) + (f"?{urlencode(pairs)}" if pairs else "")


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie_values(headers: Sequence[str], name: str) -> list[str]:
    values = []
    for header in headers:
        try:
            cookie = SimpleCookie(header).get(name)
        except CookieError:
            continue
        if cookie is not None:
            values.append(cookie.value)
    return values


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
