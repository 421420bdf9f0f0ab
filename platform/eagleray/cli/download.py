"""The verb that fetches named weights and data files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eagleray.analysis.table import plain_table
from eagleray.download import catalog, fetch, find_download, place
from eagleray.progress import terminal_progress
from eagleray.task import Download, SettingsError

_DIGITS_SHOWN = 8


@dataclass(frozen=True)
class DownloadFlags:
    """Fetch named weights and data files: resumed, verified, unpacked."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """What to fetch; see --list."""
    to: Path = Path("downloads")
    """Folder in which the files are kept."""
    from_file: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A file that you fetched yourself: it is verified and put into its place."""
    list: bool = False
    """Show what there is, with license, size and checksum."""


def download(arguments: list[str]) -> int:
    """Fetch named weights and data files."""
    flags = tyro.cli(DownloadFlags, args=arguments, prog="eagleray download")
    if flags.list or not flags.names:
        sys.stdout.write(_listing() + "\n")
        return 0
    records = [find_download(name) for name in flags.names]
    if flags.from_file is not None and len(records) != 1:
        raise SettingsError("--from FILE belongs to one name: eagleray download NAME --from FILE")
    for record in records:
        sys.stdout.write(f"{record.name}: {record.summary}; license: {record.license}\n")
        sys.stdout.flush()
        if flags.from_file is not None:
            path = place(record, flags.from_file, flags.to)
        else:
            path = fetch(record, flags.to, terminal_progress())
        known = "checksum verified" if record.checksum else "no checksum is published: not verified"
        sys.stdout.write(f"{path.absolute()} ({known})\n")
    return 0


def _listing() -> str:
    rows = [
        (
            record.name,
            record.summary,
            _size(record),
            record.license,
            _short(record.checksum),
            "by hand" if record.by_hand else "direct",
        )
        for record in catalog().values()
    ]
    return plain_table(("name", "what it is", "size", "license", "checksum", "how"), rows)


def _short(checksum: str) -> str:
    kind, _, digits = checksum.partition(":")
    if not digits:
        return "none published"
    return f"{kind} {digits[:_DIGITS_SHOWN]}{'...' * (len(digits) > _DIGITS_SHOWN)}"


def _size(record: Download) -> str:
    return f"{record.num_bytes / 1e6:.0f} MB" if record.num_bytes else "?"
