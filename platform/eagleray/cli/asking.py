"""The verb that asks a run in words: query."""

from __future__ import annotations

import tyro

from eagleray.analysis.table import plain_table
from eagleray.cli.flags import QueryFlags
from eagleray.cli.main import REJECTS_STATUS, say
from eagleray.options import RunOptions
from eagleray.progress import terminal_progress
from eagleray.runs.run_folder import find_run
from eagleray.storage import Store
from eagleray.task import SettingsError


def query(arguments: list[str]) -> int:
    """Ask a run in words: a table of hits, and files that show them."""
    flags = tyro.cli(QueryFlags, args=arguments, prog="eagleray query")
    if not flags.texts:
        raise SettingsError("eagleray query needs a text: query RUN TEXT [TEXT ...]")
    if flags.top < 1:
        raise SettingsError(f"--top is {flags.top}, allowed is 1 or more")
    from eagleray.query import Answer, make_index, show_answer, write_answer

    index = make_index(
        find_run(flags.storage, flags.run),
        Store(flags.storage),
        split=flags.split,
        checkpoint=flags.checkpoint,
        options=RunOptions(inline=flags.inline, limit=flags.limit, progress=terminal_progress()),
    )
    units, output = index.asked(flags.frame), Store(flags.output)
    answers = [Answer.of(index, text, top=flags.top, units=units) for text in flags.texts]
    for answer in answers:
        say(plain_table(answer.columns(), answer.table()) if answer.hits else _nothing(answer.text))
    names = [write_answer(answers, output)]
    for answer in answers:
        names += show_answer(index, answer, output)
    say(f"{len(units)} asked in split {index.split!r}; {len(names)} files in {output.uri}")
    return REJECTS_STATUS if index.summary.rejected else 0


def _nothing(text: str) -> str:
    return f"nothing answers {text!r}"
