"""How OPS is trained: one phase, and which parameters share rates and decay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch import nn

from eagleray.task import ParameterGroup, Phase, Schedule
from eagleray_ops.model.network import POSITIONS, OpsNetwork

STEPS = 60_000
BATCH_SIZE = 32
"""Images per step: 4 GPUs with 8 crops each."""

_UNDECAYED = frozenset({POSITIONS, "adapter.positions", "adapter.query_positions"})
"""Tables of positions."""
_TOWER_RATE = 0.1
"""Rate of CLIP's positions, relative to the others', as the configuration means it."""


def phases() -> tuple[Phase, ...]:
    """Return the only phase, in which the rate falls linearly to 0."""
    return (
        Phase(
            name="main",
            steps=STEPS,
            batch_size=BATCH_SIZE,
            optimizer="adamw",
            lr=1e-4,
            betas=(0.9, 0.999),
            weight_decay=1e-4,
            clip_norm=0.01,
            schedule=Schedule(kind="poly", power=1.0),
            precision="fp16",
        ),
    )


def parameter_groups(network: OpsNetwork, *, faithful: bool) -> Sequence[ParameterGroup]:
    """Return what is trained: the adapter, the background vector, and CLIP's positions.

    The configuration asks for a tenth of the rate in CLIP and for no decay of positions and
    LayerNorms, by parts of names of which two match nothing: as it takes effect, all rates are
    alike and LayerNorms are decayed (docs/originals/ops.md 8.4).

    Args:
        network: The network.
        faithful: As it takes effect, instead of as it is meant.
    """
    norms = {
        f"{name}.{parameter}"
        for name, module in network.named_modules()
        if isinstance(module, nn.LayerNorm)
        for parameter, _ in module.named_parameters(recurse=False)
    }
    undecayed = _UNDECAYED if faithful else _UNDECAYED | norms
    groups: dict[tuple[float, float], list[str]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = _TOWER_RATE if name == POSITIONS and not faithful else 1.0
            groups[rate, 0.0 if name in undecayed else 1.0].append(name)
    return [ParameterGroup(names, rate, decay) for (rate, decay), names in sorted(groups.items())]
