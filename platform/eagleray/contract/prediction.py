"""Prediction: what a model says of samples, and of a user's own files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self

from eagleray.contract.base import ModelTask
from eagleray.contract.generics import M, P, S
from eagleray.contract.prepare import Item, Record
from eagleray.contract.settings import Settings


class NoFlags(Settings):
    """What a task takes at ``predict`` that has no flags of its own."""


class Inference(ModelTask[M], Generic[M, S, P]):
    """A task whose model gives a prediction ``P`` for every sample ``S``."""

    @abstractmethod
    def predict(self, model: M, samples: Sequence[S]) -> Sequence[P]:
        """Return one prediction per sample (of a benchmark's dataset or of ``load_input``).

        The engine has moved the samples' tensors to the model's device and the model to eval mode;
        gradients are off. Called by a worker, in training's validation by every rank.
        """


class Prediction(Inference[M, S, P], Generic[M, S, P]):
    """A task that reads a user's own files and writes what it predicts."""

    formats: ClassVar[Sequence[str]]
    """What ``export`` can write; the first one is the default."""
    flags_type: ClassVar[type[Settings]] = NoFlags
    """Flags that ``predict`` takes beside its own (``--classes "road, scooter"``), each with a
    default that changes nothing."""

    def with_flags(self, flags: Any) -> Self:
        """Return the task that predicts as its flags say; raises SettingsError for what cannot be.
        The trained run is found without them, and exports are named by them.

        Called by the driver, where a flag is not at its default.
        """
        return self

    @abstractmethod
    def inputs(self, paths: Sequence[Path]) -> Iterator[Item]:
        """List a user's own files (folders are searched recursively); keys are relative paths
        without suffix. Where keys collide, the engine adds the suffix of ``payload["path"]``.

        Called by the driver.
        """

    @abstractmethod
    def load_input(self, item: Item) -> S:
        """Read one of the user's files as a sample for ``predict``; raises InputError.

        Called by several threads of a worker, on the CPU.
        """

    def check_format(self, format: str) -> None:
        """Raise SettingsError for one of ``formats`` that these settings cannot give.

        Called by the driver before anything starts.
        """

    @abstractmethod
    def export(self, item: Item, sample: S, prediction: P, format: str) -> Record:
        """Return the files of one prediction in a format, and a row for ``export_index`` (JSON
        values). Called from several threads. A name that several formats give lies in a folder
        of each format.
        """

    def export_index(self, format: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, bytes]:
        """Return the files that a format has once for all predictions (the JSON of COCO
        panoptic).

        Called by the driver, once per format.
        """
        return {}
