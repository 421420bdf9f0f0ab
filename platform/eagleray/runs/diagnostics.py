"""Diagnostics of evaluations in a run: ``evaluation/<benchmark>/diagnostics/<checkpoint>.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from eagleray.contract.diagnostics import Diagnostic
from eagleray.runs.run_folder import RunFolder
from eagleray.task import InputError

_STORED = TypeAdapter(list[Diagnostic])


def diagnostics_path(benchmark: str, checkpoint: str) -> str:
    """Return where the diagnostics of a checkpoint on a benchmark are."""
    return f"{RunFolder.EVALUATION}/{benchmark}/diagnostics/{checkpoint}.json"


def write_diagnostics(
    run: RunFolder, benchmark: str, checkpoint: str, diagnostics: Sequence[Diagnostic]
) -> None:
    """Write the diagnostics of an evaluation, in place of older ones."""
    content = json.dumps(json.loads(_STORED.dump_json(list(diagnostics))), allow_nan=False)
    run.write(diagnostics_path(benchmark, checkpoint), content.encode())


def read_diagnostics(run: RunFolder, benchmark: str, checkpoint: str) -> list[Diagnostic]:
    """Return the diagnostics of an evaluation; none where they were never made.

    Raises:
        InputError: They are damaged.
    """
    path = diagnostics_path(benchmark, checkpoint)
    content = run.read_many([path]).get(path)
    if content is None:
        return []
    try:
        return _STORED.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"]
        raise InputError(f"{path} is damaged: {first}") from error
