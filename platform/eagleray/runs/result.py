"""The results JSON of one checkpoint on one benchmark, checked when it is read back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from eagleray.task import InputError


class _Published(BaseModel):
    metric: str
    value: float
    source: str = ""
    model: str = ""
    recalled: bool = False


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")

    benchmark: str
    protocol: str = ""
    checkpoint: str
    metric: str
    higher_is_better: bool = True
    values: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]] = {}
    published: list[_Published] = []
    units: int = 0
    rejected: int = 0
    units_digest: str = ""
    rows: str = ""


def checked_result(found: Any) -> dict[str, Any]:
    """Return a results mapping with every field that ``evaluate`` writes.

    Args:
        found: What was read from ``evaluation/<benchmark>/<checkpoint>.json`` or a summary.

    Raises:
        InputError: It is no results mapping.
    """
    try:
        return _Result.model_validate(found).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(f"it is no result of an evaluation: {where}: {first['msg']}") from error
