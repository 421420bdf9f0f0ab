"""The whole state of a phase's training by name, whatever the sharding: for checkpoints and for
evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from eagleray.train.average import MovingAverage
from eagleray.train.checkpoint import Checkpoint, TrainState
from eagleray.train.strategies import Strategy


def evaluated_state(
    strategy: Strategy, average: MovingAverage | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield what is evaluated, by name of the model's state dict (collective).

    Parameters are whole, and averaged where the phase keeps an average; buffers are as they are.
    """
    parameters = set()
    for name, value in strategy.whole_parameters():
        parameters.add(name)
        averaged = average.whole(name) if average is not None else None
        yield name, value if averaged is None else averaged
    for name, value in strategy.model.state_dict().items():
        if name not in parameters and isinstance(value, Tensor):
            yield name, value


def take_snapshot(
    strategy: Strategy, average: MovingAverage | None, state: TrainState
) -> Checkpoint | None:
    """Return a checkpoint in CPU memory on rank 0, None on the others (collective)."""
    strategy.sync_buffers()
    keep = strategy.rank == 0
    model = {n: _kept(v) for n, v in evaluated_state(strategy, average) if keep}
    raw: dict[str, Tensor] = {}
    if average is not None:
        raw = {n: _kept(v) for n, v in strategy.whole_parameters() if keep}
    moments = strategy.moments()
    return Checkpoint(state, model, moments, raw) if keep else None


def fill_model(model: nn.Module, strategy: Strategy, average: MovingAverage | None) -> None:
    """Copy what is evaluated into another instance of the model (collective)."""
    own = dict(model.state_dict())
    for name, value in evaluated_state(strategy, average):
        own[name].copy_(value)


def _kept(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
