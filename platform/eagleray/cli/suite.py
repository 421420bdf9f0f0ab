"""The verb ``suite``: several experiments of several tasks into one page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tyro

from eagleray.analysis.table import plain_table
from eagleray.cli.flags import SuiteFlags
from eagleray.cli.main import FAILED_STATUS, say
from eagleray.progress import terminal_progress
from eagleray.scheduling.session import VERBOSE
from eagleray.suite.driver import (
    DONE,
    FAILED,
    RUNNING,
    EntryRecord,
    SuiteOptions,
    read_records,
    run_suite,
    suite_folder,
)
from eagleray.suite.page import suite_html
from eagleray.suite.schema import SuiteEntry, SuiteSettings, experiment_of, load_suite
from eagleray.task import EaglerayError


def suite(arguments: list[str]) -> int:
    """Run what is not done yet, then write the page; exit status 1 where an entry failed."""
    flags = tyro.cli(SuiteFlags, args=arguments, prog="eagleray suite")
    settings = load_suite(flags.suite)
    if flags.storage:
        settings = settings.model_copy(update={"storage": flags.storage})
    if flags.dry_run:
        return _say_plan(settings)
    if flags.verbose:
        os.environ[VERBOSE] = "1"
    page = flags.output or Path(f"{settings.name}.html")
    options = SuiteOptions(flags.inline, flags.limit, terminal_progress(), flags.again)
    try:
        records = run_suite(settings, options, _tell)
    except (KeyboardInterrupt, InterruptedError) as error:
        write_page(settings, list(read_records(settings).values()), page)
        reason = f"the suite goes on with the same command; so far: {page}"
        raise InterruptedError(reason) from error
    write_page(settings, records, page)
    failed = [record for record in records if record.state == FAILED]
    for record in failed:
        sys.stderr.write(f"failed: {record.name}: {record.error}\n")
    say(f"{page}: {len(records) - len(failed)} of {len(records)} entries done")
    return FAILED_STATUS if failed else 0


def write_page(settings: SuiteSettings, records: list[EntryRecord], page: Path) -> None:
    """Write the page of what there is so far, beside the records too."""
    text = suite_html(settings.title or settings.name, records).encode()
    suite_folder(settings).write("page.html", text)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_bytes(text)


def _tell(record: EntryRecord) -> None:
    if record.state == RUNNING:
        say(f"{record.name}: begins{f' ({record.run})' if record.run else ''}")
    else:
        first = next(iter(record.error.splitlines()), "")
        say(f"{record.name}: {record.state}{f': {first}' if first else ''}")


def _say_plan(settings: SuiteSettings) -> int:
    """Say what each entry would do; exit status 1 where one of them cannot be read."""
    known = read_records(settings)
    rows, is_broken = [], False
    for entry in settings.entries:
        record = known.get(entry.label, EntryRecord(entry.label, "not begun"))
        what = _what(settings, entry)
        is_broken |= what.startswith("BROKEN")
        rows.append((entry.label, record.state, what))
    say(plain_table(("entry", "state", "what it does"), rows))
    done = sum(record.state == DONE for record in known.values())
    say(f"{done} of {len(settings.entries)} done; records in {suite_folder(settings).uri}")
    return FAILED_STATUS if is_broken else 0


def _what(settings: SuiteSettings, entry: SuiteEntry) -> str:
    if entry.experiment is None:
        return " ".join(entry.command)
    try:
        experiment = experiment_of(settings, entry)
    except EaglerayError as error:
        return f"BROKEN: {error}"
    changed = "".join(f" {path}={value}" for path, value in entry.set.items())
    return f"{entry.verb} {entry.experiment} ({experiment.task}){changed}"
