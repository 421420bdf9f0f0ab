"""Commands on the pages are read as they stand: verbs, flags and settings exist, files too."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import tyro
from tests.documented import ROOT, Documented, documented, fenced, mentioned, pages

from eagleray.cli import flags as flags_of_verbs
from eagleray.cli import jobs
from eagleray.cli.arguments import parse_command_line
from eagleray.cli.flags import CheckFlags, SubmitFlags
from eagleray.cli.submit import _given_flags
from eagleray.cli.verbs import HELP, VERBS
from eagleray.experiment.discovery import installed_tasks, task_type
from eagleray.experiment.load import make_experiment, read_values
from eagleray.experiment.schema import ExperimentSettings

WITH_COMMANDS = [page for page in pages() if documented(page) or mentioned(page)]
OURS = re.compile(r"(experiments|cluster|tasks|docs|platform|cuda_ops)/.+\.\w+")
"""A file of the repository."""
NAMES_FOR_A_FILE = re.compile(
    r"(mine|EXPERIMENT|EXP|experiment|(crops|published|imported)/\w+)\.ya?ml"
)
"""An experiment that its reader has; here the quickstart stands for it."""
_READ: set[tuple[str, ...]] = set()


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder beside the repository's own, as a reader has it."""
    for part in ("experiments", "cluster", "tasks", "docs", "platform", "cuda_ops"):
        (tmp_path / part).symlink_to(ROOT / part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EAGLERAY_DATA", str(tmp_path))
    return tmp_path


def read(words: list[str]) -> None:
    """Read a command line as its verb would, without doing anything."""
    verb, *rest = words
    assert verb in VERBS, f"there is no verb {verb!r}"
    rest = [_experiment_of(word) for word in rest]
    missing = [word for word in rest if OURS.fullmatch(word) and not Path(word).exists()]
    assert not missing, f"not in the repository: {missing}"
    kind = getattr(flags_of_verbs, VERBS[verb].flags)
    if verb == "submit" and rest[0] in jobs.VERBS:
        flags = {"logs": jobs.LogsFlags, "stop": jobs.StopFlags, "list": jobs.ListFlags}
        tyro.cli(flags.get(rest[0], jobs.StatusFlags), args=rest[1:])
        return
    if verb == "submit":
        flags, rest = tyro.cli(SubmitFlags, args=rest, return_unknown_args=True)
        kind = _given_flags(flags.verb)
    if verb == "check":
        kind = CheckFlags
    if not VERBS[verb].takes_experiment:
        tyro.cli(kind, args=rest)
        return
    path = next(word for word in rest if word.endswith(".yaml"))
    values = read_values(path)
    roots = {word[2:].partition("=")[0].partition(".")[0].replace("-", "_") for word in rest}
    shape = (verb, str(values["task"]), *sorted(word for word in rest if word.startswith("--")))
    if not roots & set(ExperimentSettings.model_fields):  # tyro takes its time for all settings
        make_experiment(values, path)
        tyro.cli(kind, args=[word for word in rest if word != path or verb == "doctor"])
    elif shape not in _READ:
        parse_command_line(verb, "", kind, rest)
        _READ.add(shape)


def _experiment_of(word: str) -> str:
    return "experiments/quickstart.yaml" if NAMES_FOR_A_FILE.fullmatch(word) else word


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_commands_in_blocks_are_read_by_their_verbs(page, folder):
    for line in documented(page):
        for words in line.commands():
            try:
                read(words)
            except (SystemExit, Exception) as error:
                raise AssertionError(f"{line.page}: {line.text}: {error!r}") from error


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_commands_in_sentences_name_verbs_and_flags_that_there_are(page):
    for text in mentioned(page):
        verb, *rest = text.split()[1:]
        if verb == "VERB":
            continue
        assert verb in VERBS, f"{name(page)}: {text}"
        kinds = [getattr(flags_of_verbs, VERBS[verb].flags)]
        known = {field.name for kind in kinds for field in dataclasses.fields(kind)}
        if verb == "predict":
            known |= {f for t in installed_tasks() for f in _flags_of_task(t)}
        if VERBS[verb].takes_experiment:
            known |= set(ExperimentSettings.model_fields)
        given = {word.strip("[]") for word in rest if word.strip("[").startswith("--")}
        unknown = {
            flag
            for flag in given - set(HELP)
            if flag.removeprefix("--").split(".")[0].replace("-", "_") not in known
        }
        assert not unknown, f"{name(page)}: {text}: {unknown}"


def _flags_of_task(task: str) -> list[str]:
    return list(getattr(task_type(task), "flags_type", ExperimentSettings).model_fields)


def test_experiments_in_blocks_say_what_is_allowed(folder):
    blocks = [
        (page, text)
        for page in pages()
        for kind, text in fenced(page)
        if kind == "yaml" and re.search(r"^task:", text, re.MULTILINE)
    ]
    assert len(blocks) >= 2
    for page, text in blocks:
        Path("block.yaml").write_text(text)
        make_experiment(read_values("block.yaml"), name(page))


@pytest.mark.parametrize(
    "text",
    [
        "eagleray evalute mine.yaml",
        "eagleray evaluate mine.yaml --benchmarks all",
        "eagleray train mine.yaml --train.lerning_rate 1",
        "eagleray plan experiments/none.yaml",
        "eagleray show --formt csv",
    ],
)
def test_a_command_that_is_wrong_is_found(text, folder):
    (words,) = Documented("page", text).commands()
    with pytest.raises((SystemExit, Exception, AssertionError)):
        read(words)
