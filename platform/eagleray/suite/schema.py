"""What a suite's YAML may say, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from eagleray.experiment.load import explain, load_experiment, read_values
from eagleray.experiment.overrides import make_overridden
from eagleray.experiment.paths import full_path
from eagleray.experiment.schema import ExperimentSettings
from eagleray.storage import checked_name
from eagleray.task import Settings, SettingsError


class SuiteEntry(Settings):
    """One step of a suite: an experiment, or a command that makes what the next ones read."""

    experiment: Path | None = None
    """The experiment's file; relative paths mean the folder in which the suite is run."""
    verb: Literal["run", "prepare"] = "run"
    """What is done with it: the whole of it, or its prepared stages alone."""
    set: dict[str, Any] = Field({})
    """Settings laid over the file, by dotted path, as in a sweep's variant."""
    command: tuple[str, ...] = ()
    """A command in place of an experiment; ``python`` stands for the Python that runs the suite."""
    name: str = ""
    """Name in the page; by default the file's or the command's."""

    @model_validator(mode="after")
    def _possible(self) -> SuiteEntry:
        if (self.experiment is None) == (not self.command):
            raise ValueError("an entry has either an experiment or a command")
        if self.command and (self.set or self.verb != "run"):
            raise ValueError("a command takes neither 'set' nor 'verb'")
        return self

    @property
    def label(self) -> str:
        """What the entry is called, also in the names of files."""
        if self.name:
            return self.name
        if self.experiment is not None:
            parent = self.experiment.parent.name
            return f"{parent}-{self.experiment.stem}" if parent else self.experiment.stem
        return Path(self.command[-1]).stem if len(self.command) == 1 else Path(self.command[1]).stem


class SuiteSettings(Settings):
    """A suite: entries in their order."""

    name: str = "suite"
    """Name of the suite's folder; by default the file's."""
    title: str = ""
    """Heading of the page."""
    storage: str | None = None
    """Folder or URI for all of its experiments; by default each one's own."""
    entries: tuple[SuiteEntry, ...] = Field(min_length=1)
    """What is run, in this order; an entry that fails does not stop the next ones."""

    @model_validator(mode="after")
    def _names_differ(self) -> SuiteSettings:
        checked_name(self.name, "suite name")
        labels = [checked_name(entry.label, "entry name") for entry in self.entries]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"entries are called alike: {', '.join(twice)}; give them a name")
        return self


def load_suite(path: Path) -> SuiteSettings:
    """Read and check a suite's YAML; its experiments are read when their turn comes.

    Raises:
        SettingsError: The file is missing, or says something that is not allowed.
    """
    values = read_values(path)
    try:
        return SuiteSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(explain(error, SuiteSettings, str(path))) from error


def experiment_of(suite: SuiteSettings, entry: SuiteEntry) -> ExperimentSettings:
    """Return an entry's experiment with what the suite sets.

    Raises:
        SettingsError: Its file is missing, or says something that is not allowed.
    """
    if entry.experiment is None:
        raise SettingsError(f"entry {entry.label!r} is a command, no experiment")
    origin = f"{entry.experiment} in suite {suite.name}"
    values = read_values(entry.experiment)
    if suite.storage is not None:
        values = {**values, "storage": suite.storage}
    base = load_experiment(entry.experiment)
    changes = {full_path(path, base): value for path, value in entry.set.items()}
    return make_overridden(values, changes, origin)
