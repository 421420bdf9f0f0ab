"""What users are told when something is wrong, and the base of everything that they set. Import
these from ``eagleray.task``.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EaglerayError(Exception):
    """Anything a user can mend: says what was asked and found, what is allowed and what to do."""


class SettingsError(EaglerayError, ValueError):
    """A setting that is unknown, of the wrong type or impossible together with another one."""


class InputError(EaglerayError, ValueError):
    """Data that cannot be used. Raised for one item it becomes a reject, never the end of a job."""


class Settings(BaseModel):
    """Base of every settings model: immutable, unknown keys refused, every field documented."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
