"""Files in a run's folders that the engine has not written: copies and notes of people.

They are passed over and told, each once per process: whoever made a copy learns that it does not
count, and a loop that looks every second does not fill the log.
"""

from __future__ import annotations

import logging

_TOLD: set[str] = set()


def warn_once(logger: logging.Logger, text: str) -> None:
    """Write a warning that this process has not written yet."""
    if text not in _TOLD:
        _TOLD.add(text)
        logger.warning("%s", text)
