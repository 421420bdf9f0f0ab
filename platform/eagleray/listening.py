"""Where servers of the engine listen, and the token that lets in whoever is elsewhere."""

from __future__ import annotations

import ipaddress
import secrets

_LOCAL_NAMES = ("localhost", "ip6-localhost")


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this machine's own, unreachable from outside."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host in _LOCAL_NAMES


def new_token() -> str:
    """Return a token that cannot be guessed."""
    return secrets.token_urlsafe(24)
