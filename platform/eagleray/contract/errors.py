"""What users are told when something is wrong. Import these from ``eagleray.task``."""

from __future__ import annotations

import errno

_TRANSIENT = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE,
        errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH,
        errno.ENOTCONN, errno.EREMOTEIO, errno.ESTALE,
    }
)  # fmt: skip
"""What disks, network file systems and object stores say when a later try may succeed."""


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
    return isinstance(error, OSError) and error.errno in _TRANSIENT
