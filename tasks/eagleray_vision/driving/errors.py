"""What is wrong with recordings of a vehicle."""

from __future__ import annotations

from eagleray.task import InputError


class DrivingDataError(InputError):
    """A key frame, a table or a sensor's file cannot be used; says which token and which file."""
