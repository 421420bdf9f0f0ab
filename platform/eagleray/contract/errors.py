"""What users are told when something is wrong. Import these from ``eagleray.task``."""

from __future__ import annotations


class EaglerayError(Exception):
    """Anything a user can mend: says what was asked and found, what is allowed and what to do."""


class SettingsError(EaglerayError, ValueError):
    """A setting that is unknown, of the wrong type or impossible together with another one."""


class InputError(EaglerayError, ValueError):
    """Data that cannot be used. Raised for one item it becomes a reject, never the end of a job."""
