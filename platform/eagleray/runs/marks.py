"""What people say about a run: tags, a note, and whether it is put aside (``marks.json``).

Marks are no part of a run's results: whoever trains, evaluates or compares does not read them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eagleray.runs.records import encode_json
from eagleray.runs.run_folder import RunFolder
from eagleray.task import SettingsError

MARKS_FILE = "marks.json"
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 4000
_TAG = re.compile(r"[^\s,]+")


@dataclass(frozen=True, slots=True)
class RunMarks:
    """Marks of one run.

    Args:
        tags: Words without spaces and commas, in the order in which they were given.
        note: Any text.
        archived: Lists leave it out unless asked for it.
    """

    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False

    @classmethod
    def parse(cls, content: bytes) -> RunMarks:
        """Return what a file says; what it says wrongly is left out."""
        try:
            values: Any = json.loads(content)
        except ValueError:
            return cls()
        if not isinstance(values, dict):
            return cls()
        tags, note = values.get("tags"), values.get("note")
        known = [t for t in tags if isinstance(t, str)] if isinstance(tags, list) else []
        text = note if isinstance(note, str) else ""
        return cls(tuple(known), text, values.get("archived") is True)

    def encode(self) -> bytes:
        """Return the content of its file."""
        return encode_json(asdict(self))


def read_marks(run: RunFolder) -> RunMarks:
    """Return a run's marks; none where it has no file."""
    return RunMarks.parse(run.read_many([MARKS_FILE]).get(MARKS_FILE, b"{}"))


def change_marks(
    run: RunFolder,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    note: str | None = None,
    archived: bool | None = None,
) -> RunMarks:
    """Change a run's marks and return them; what is not named stays.

    Args:
        run: The run.
        add: Tags that it gets.
        remove: Tags that it loses.
        note: Its new note.
        archived: Put it aside, or take it back.

    Raises:
        SettingsError: There is no such run, or a tag or the note is not usable.
    """
    if not run.is_run:
        raise SettingsError(f"{run.uri} is no run: it has no {run.EXPERIMENT}")
    for tag in add:
        if not _TAG.fullmatch(tag) or len(tag) > LONGEST_TAG:
            raise SettingsError(
                f"{tag!r} is no tag: allowed are 1 to {LONGEST_TAG} characters without spaces and "
                "commas"
            )
    if note is not None and len(note) > LONGEST_NOTE:
        raise SettingsError(f"a note may have {LONGEST_NOTE} characters, this has {len(note)}")
    old = read_marks(run)
    tags = [tag for tag in dict.fromkeys((*old.tags, *add)) if tag not in remove]
    if len(tags) > MOST_TAGS:
        raise SettingsError(f"{run.name} would have {len(tags)} tags; {MOST_TAGS} are allowed")
    marks = RunMarks(
        tuple(tags),
        old.note if note is None else note,
        old.archived if archived is None else archived,
    )
    run.write(MARKS_FILE, marks.encode())
    return marks
