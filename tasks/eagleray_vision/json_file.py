"""Read a JSON file that anybody may have written: a value, or an error of the caller's kind."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from eagleray.task import InputError, is_transient


def read_json(path: Path, refusal: type[InputError], *, finite: bool = True) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        path: The file.
        refusal: What to raise.
        finite: Refuse NaN and infinite numbers; off where the reader names their place itself.

    Returns:
        Its value.

    Raises:
        InputError: A ``refusal``: it is no regular file or cannot be read, is no JSON, holds NaN or
            an infinite number, is nested too deeply, or has an integer of thousands of digits.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise refusal(f"{path}: is no regular file (a folder, pipe or device); give a JSON file")
    try:
        if not finite:
            return json.loads(path.read_bytes())
        return json.loads(path.read_bytes(), parse_constant=_no_number, parse_float=_finite)
    except (OSError, ValueError) as error:
        if is_transient(error):
            raise
        raise refusal(f"{path}: cannot be read as JSON ({error}); save it as UTF-8 JSON") from error
    except RecursionError as error:
        raise refusal(f"{path}: cannot be read as JSON: it is nested too deeply") from error


def whole_number(value: Any, what: str) -> int:
    """Return a number of a JSON file that must be a whole one.

    Args:
        value: As it was read; ``5.0`` counts as 5.
        what: What it is, for the message.

    Raises:
        ValueError: It is a text, a fraction, a truth value or does not fit in 64 bits.
    """
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not is_whole or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError(f"{what} must be a whole number of 64 bits, found {_short(value)}")
    return int(value)


def _short(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # an integer of too many digits to be written
        return "a huge integer"


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.40} is too large")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
