"""What every task is, whatever it can do, and what all that have a model share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from eagleray.contract.costs import CostTable
from eagleray.contract.data import Batches, Dataset
from eagleray.contract.frozen import FrozenFile
from eagleray.contract.generics import M
from eagleray.contract.phase import Phase
from eagleray.contract.prepare import Rows, Stage
from eagleray.contract.requirements import Download, Requirement
from eagleray.contract.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class BaseTask(ABC):
    """A task with settings and stages; alone, it makes data and has no model. Picklable; holds
    settings only.

    Annotate ``settings`` in the class body with its own type.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings_type: ClassVar[type[Settings]]

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def requirements(self) -> Sequence[Requirement]:
        """Return the files this task needs with these settings.

        Called by the driver before every verb.
        """
        return ()

    @classmethod
    def downloads(cls) -> Sequence[Download]:
        """Return the published files that this task can use.

        Called by the command line, without settings.
        """
        return ()

    def stages(self) -> Sequence[Stage]:
        """Return the preprocessing steps in an order in which upstream comes first.

        Called by the driver, once per verb.
        """
        return ()

    def costs(self, num_items: Mapping[str, int], phases: Sequence[Phase]) -> Sequence[CostTable]:
        """Return what other ways to keep the prepared data would cost, before anything is written.

        Called by the driver for ``plan``.

        Args:
            num_items: Items of the stages by label, of those that can be listed already.
            phases: How long training reads the data; empty where nothing is trained.
        """
        return ()


class DataTask(BaseTask):
    """A task with data to train or to be evaluated on."""

    @abstractmethod
    def dataset(self, source: str, rows: Mapping[str, Rows]) -> Dataset | Batches:
        """Return the data called ``source``: ``"train"``, or the source of a benchmark.

        Called by every rank and evaluation worker, once, and by the driver to list units.

        Args:
            source: Which data.
            rows: The rows of all prepared stages, by label.
        """

    def stages_of(self, source: str) -> Sequence[str]:
        """Return the labels of the stages that ``dataset`` reads for a source; evaluation prepares
        these and what is upstream of them.

        By default the stages of that source; all of them where none has it.
        """
        stages = self.stages()
        return [s.label for s in stages if s.source == source] or [s.label for s in stages]


class ModelTask(BaseTask, Generic[M]):
    """A task with a model ``M``."""

    @abstractmethod
    def build(self) -> M:
        """Return the model on the CPU in float32 with initial weights; no file of weights is read,
        since evaluation and prediction put a checkpoint's weights in.

        Called by every rank at each phase, by every evaluation or prediction worker once.
        """

    def frozen_files(self) -> Sequence[FrozenFile]:
        """Return the files of weights whose tensors checkpoints name by the file's checksum and
        leave out, as long as nothing trains or changes them. Their requirements are
        ``training_only``: a file that ``eagleray export`` made is evaluated without them.

        Called by every rank and worker that builds a model, and by the driver.
        """
        return ()

    def read_frozen(self, model: M, file: FrozenFile) -> Mapping[str, Tensor]:
        """Return the tensors of one of ``frozen_files``, which is there, by their names in the
        model's state.

        Called after ``build``: by every rank before ``load_pretrained`` and where a run goes on,
        by workers where a checkpoint refers to the file.
        """
        raise NotImplementedError(
            f"task {self.name!r} names the frozen file {file.name!r} and has no read_frozen()"
        )
