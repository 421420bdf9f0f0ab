"""Verbs that put runs in order: mark (tags, notes, archive) and trash."""

from __future__ import annotations

import tyro

from eagleray.cli.flags import MarkFlags, TrashFlags
from eagleray.cli.main import say
from eagleray.runs.marks import change_marks, read_marks
from eagleray.runs.run_folder import find_run
from eagleray.runs.trash import delete_run, empty_trash, restore_run, trashed
from eagleray.task import SettingsError


def mark(arguments: list[str]) -> int:
    """Give runs tags and notes, or put them aside."""
    flags = tyro.cli(MarkFlags, args=arguments, prog="eagleray mark")
    if flags.archive and flags.unarchive:
        raise SettingsError("mark takes --archive or --unarchive, not both")
    archived = flags.archive if flags.archive or flags.unarchive else None
    for name in flags.runs:
        run = find_run(flags.storage, name)
        if not flags.tag and not flags.untag and flags.note is None and archived is None:
            marks = read_marks(run)
        else:
            marks = change_marks(
                run, add=flags.tag, remove=flags.untag, note=flags.note, archived=archived
            )
        parts = [" ".join(marks.tags), "archived" if marks.archived else "", marks.note]
        say(f"{run.name}: {'; '.join(part for part in parts if part) or 'no marks'}")
    return 0


def trash(arguments: list[str]) -> int:
    """Move runs to the trash, or back."""
    flags = tyro.cli(TrashFlags, args=arguments, prog="eagleray trash")
    for name in flags.runs:
        if flags.restore:
            say(f"{restore_run(flags.storage, name)}: back")
        else:
            known = find_run(flags.storage, name).name
            there = delete_run(flags.storage, known)
            say(f"{known}: in the trash (eagleray trash {there} --restore brings it back)")
    if flags.empty:
        for name in empty_trash(flags.storage):
            say(f"{name}: deleted")
    elif not flags.runs:
        names = trashed(flags.storage)
        say("\n".join(names) if names else "the trash is empty")
    return 0
