"""Training recipes: of the released code, and of the paper (EfficientPS, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from eagleray.task import Phase, Schedule
from eagleray_efficientps.settings import EfficientPsSettings

BATCH_SIZE = 16
"""Images per step: 16 GPUs with one crop each."""
BASE_LR = 0.07
FROZEN_PHASE = "frozen_statistics"
"""Name of the paper's last phase, in which normalization uses its running statistics."""

_CLIP_NORM = 35.0
_WEIGHT_DECAY = 1e-4
_MOMENTUM = 0.9

_RELEASED_EPOCHS = 160
_RELEASED_DROPS = (120 / 160, 144 / 160)
_RELEASED_WARMUP, _PAPER_WARMUP = 500, 200
_FROZEN_EPOCHS, _FROZEN_LR = 10, 1e-4


@dataclass(frozen=True, slots=True)
class PaperLength:
    """Length and milestones of the paper's main phase on one data set, in steps."""

    steps: int
    milestones: tuple[int, int]


PAPER_LENGTHS = {
    "cityscapes": PaperLength(50_000, (32_000, 44_000)),
    "vistas": PaperLength(192_000, (144_000, 176_000)),
    "kitti": PaperLength(25_000, (16_000, 22_000)),
    "idd": PaperLength(144_000, (108_000, 130_000)),
}


def phases(settings: EfficientPsSettings) -> tuple[Phase, ...]:
    """Return the phases of the settings' recipe.

    The released one drops the rate after 120 and 144 of 160 epochs. The paper's counts steps by
    data set, those of Cityscapes for data that it has not, and ends with ten epochs in which the
    statistics of the normalization are frozen.
    """
    if settings.recipe == "released":
        drops = Schedule(
            kind="multistep",
            milestone_fractions=_RELEASED_DROPS,
            warmup_steps=_RELEASED_WARMUP,
            warmup_start=1 / 3,
        )
        return (_phase("main", epochs=_RELEASED_EPOCHS, lr=BASE_LR, schedule=drops),)
    length = PAPER_LENGTHS.get(settings.data.format, PAPER_LENGTHS["cityscapes"])
    drops = Schedule(
        kind="multistep",
        milestones=length.milestones,
        warmup_steps=_PAPER_WARMUP,
        warmup_start=1 / 3,
    )
    return (
        _phase("main", steps=length.steps, lr=BASE_LR, schedule=drops),
        _phase(FROZEN_PHASE, epochs=_FROZEN_EPOCHS, lr=_FROZEN_LR, schedule=Schedule()),
    )


def _phase(
    name: str,
    *,
    lr: float,
    schedule: Schedule,
    steps: int | None = None,
    epochs: float | None = None,
) -> Phase:
    return Phase(
        name=name,
        steps=steps,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        optimizer="sgd",
        lr=lr,
        momentum=_MOMENTUM,
        weight_decay=_WEIGHT_DECAY,
        clip_norm=_CLIP_NORM,
        schedule=schedule,
        normalize="rank",
    )
