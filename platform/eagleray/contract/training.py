"""Training: what a task gives at every step, as named losses with their weights."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from eagleray.contract.base import DataTask, ModelTask
from eagleray.contract.generics import B, D, M
from eagleray.contract.phase import Phase
from eagleray.contract.prepare import Rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters (by name) that share multipliers; parameters in no group are frozen during the
    phase.
    """

    names: Sequence[str]
    lr_factor: float = 1.0
    weight_decay_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class LossTerm:
    """A loss as (sum, weight): the engine divides the sum by the weight added up over ranks.

    A term contributes ``factor * sum / weight``, and nothing where the added-up weight is 0. Every
    rank returns the same terms in the same order, also when it has nothing to add (0 * features).
    """

    sum: Tensor
    weight: Tensor | float
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class StepContext:
    """Where training stands; randomness is keyed by (seed, phase, step, sample), not by rank."""

    phase: Phase
    step: int
    total_steps: int
    seed: int
    sample_keys: tuple[str, ...] = ()
    """Names of the samples of this micro-batch, in collation order."""
    rows: Mapping[str, Rows] = field(default_factory=dict, repr=False, compare=False)
    """Rows of the prepared stages by label, as ``dataset`` was given them: ``summary()`` is what
    ``finish`` gave, ``fitted()`` what ``fit`` found. (Rows themselves are read by the dataset.)"""

    def generator(self, sample_idx: int | None = None, salt: str = "") -> torch.Generator:
        """Return a CPU generator for one sample of the micro-batch (None: one shared by all
        ranks).
        """
        import torch

        key = "" if sample_idx is None else self.sample_keys[sample_idx]
        text = f"{self.seed}/{self.phase.name}/{self.step}/{key}/{salt}"
        high, low = zlib.crc32(text.encode()), zlib.adler32(text[::-1].encode())
        return torch.Generator().manual_seed((high << 32) | low)


@dataclass(frozen=True, slots=True)
class FittedWeights:
    """Weights of another training, made to fit a model.

    Args:
        weights: What is loaded, by name.
        kept: Tensors that keep the model's initial values although the file has them, with the
            reason; said aloud.
        notes: Further lines to say aloud.
    """

    weights: Mapping[str, Tensor]
    kept: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Training(ModelTask[M], DataTask, Generic[M, B, D]):
    """A task that trains a model ``M`` on batches ``B``, made from training data ``D``."""

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """Return the paper's training phases; an experiment may override their fields.

        Called by the driver when an experiment is read.
        """

    def load_pretrained(self, model: M) -> None:
        """Put the published weights that training begins with into a new model.

        Called before the first phase (``train.init_from`` comes on top) and to evaluate the
        checkpoint ``initial``, never where a run goes on from its own checkpoint.
        """

    def parameter_groups(self, model: M, phase: Phase) -> Sequence[ParameterGroup]:
        """Return what is trained in the phase; by default all that requires a gradient.

        Called by every rank, once per phase, with the model on its device.
        """
        return (ParameterGroup([n for n, p in model.named_parameters() if p.requires_grad]),)

    def on_phase_start(self, model: M, phase: Phase, data: D) -> None:
        """Get ready for a phase (change buffers), alike on all ranks.

        Called by every rank when a phase begins or is resumed: weights are loaded, the model is on
        its device, in train mode.
        """

    def before_step(self, model: M, step: StepContext) -> None:
        """Change buffers before a step (an occupancy grid), alike on all ranks.

        Called by every rank before every optimizer step, in train mode.
        """

    @abstractmethod
    def losses(self, model: M, batch: B, step: StepContext) -> Mapping[str, LossTerm]:
        """Return the named losses of a micro-batch. The same modules run in the same order on
        every rank.

        Called by every rank for every micro-batch, in the phase's precision; model and batch are on
        the rank's device, the model is in train mode.
        """

    def fit_weights(self, model: M, weights: Mapping[str, Tensor]) -> FittedWeights:
        """Make the weights of ``train.init_from`` fit the model: what depends on other classes
        keeps its initial values; raises SettingsError for what cannot fit. By default nothing is
        changed, and tensors of other shapes are left out.

        Called by every rank before the first phase, with the model on the CPU.
        """
        return FittedWeights(weights)
