"""Import: weights and configurations as others published them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eagleray.contract.base import BaseTask

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImportedCheckpoint:
    """Foreign weights in our names; every key of the file is in exactly one of mapped and extra."""

    state_dict: Mapping[str, Tensor]
    mapped: Mapping[str, str]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedFiles:
    """What ``eagleray import`` makes of a published file: weights, an experiment, or both.

    Args:
        checkpoint: The weights, where the file holds some.
        experiment: Values of the experiment that its configuration describes; checked by the
            engine.
        files: What the experiment refers to, by the path below the folder that it was given.
        notes: What the user must know, one line each: what was not carried over, and why.
    """

    checkpoint: ImportedCheckpoint | None = None
    experiment: Mapping[str, Any] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Importing(BaseTask):
    """A task that reads what an original published."""

    @abstractmethod
    def import_checkpoint(self, path: Path) -> ImportedCheckpoint:
        """Read published weights in the original's format; every key is accounted for.

        Called by the command line.
        """

    def import_published(self, path: Path, folder: Path) -> PublishedFiles:
        """Read any file that the original publishes or reads, whatever these settings say: weights,
        a configuration, an archive of both. By default weights.

        Args:
            path: The file.
            folder: Where the weights, the experiment and its files will lie.
        """
        return PublishedFiles(self.import_checkpoint(path))
