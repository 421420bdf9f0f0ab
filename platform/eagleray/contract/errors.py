"""What users are told when something is wrong. Import these from ``eagleray.task``."""

from __future__ import annotations

import errno
from collections.abc import Iterator

_TRANSIENT = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH,
        errno.ENOTCONN, errno.EREMOTEIO, errno.ESTALE,
    }
)  # fmt: skip
"""What disks, network file systems and object stores say when a later try may succeed."""
_TRANSIENT_TYPES = frozenset(
    {
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.HTTPClientError",
        "google.api_core.exceptions.ServerError",
        "google.api_core.exceptions.TooManyRequests",
        "http.client.IncompleteRead",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "urllib3.exceptions.ProtocolError",
        "urllib3.exceptions.TimeoutError",
    }
)
"""What libraries raise of a network that does not answer, without being OSErrors with a number. By
name: none of them is imported for this."""
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers of a server that is overloaded or starting."""


class EaglerayError(Exception):
    """Anything a user can mend: says what was asked and found, what is allowed and what to do."""


class SettingsError(EaglerayError, ValueError):
    """A setting that is unknown, of the wrong type or impossible together with another one."""


class InputError(EaglerayError, ValueError):
    """Data that cannot be used. Raised for one item it becomes a reject, never the end of a job."""


def is_transient(error: BaseException) -> bool:
    """Return whether storage or network did not answer, so that a later try may succeed.

    Such an error says nothing about the data: let it through where damaged files become
    ``InputError``, and the engine tries again.

    Example:
        >>> is_transient(TimeoutError()), is_transient(FileNotFoundError())
        (True, False)
    """
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT:
        return True
    if _TRANSIENT_TYPES & set(_type_names(error)):
        return True
    reason = getattr(error, "reason", None)  # of urllib's URLError
    if isinstance(reason, OSError):
        return is_transient(reason)
    codes = (getattr(error, name, None) for name in ("status", "code"))
    return any(isinstance(code, int) and code in _TRANSIENT_STATUS for code in codes)


def _type_names(error: BaseException) -> Iterator[str]:
    """Yield the full names of an error's type and of all that it is derived from."""
    for kind in type(error).__mro__:
        yield f"{kind.__module__}.{kind.__qualname__}"
