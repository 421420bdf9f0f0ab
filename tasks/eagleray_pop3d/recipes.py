"""How the original is trained (docs/originals/pop3d.md, section 12)."""

from __future__ import annotations

from eagleray.task import Phase, Schedule

NUM_STEPS = 42_192
"""12 epochs of 28 130 // 8 = 3 516 steps."""

SCHEDULE = Schedule(
    kind="cosine",
    end_lr=1e-6,
    warmup_steps=500,
    warmup_start_lr=1e-5,
    # The original reads its schedule after each iteration, for the next one, and is on the cosine
    # from clock 500 on, without having reached the base rate.
    warmup_reaches_base=False,
    first_step=-1,
)
"""Linear warm-up from 1e-5, then a cosine over the whole length down to 1e-6."""

PHASE = Phase(
    steps=NUM_STEPS,
    batch_size=8,
    optimizer="adamw",
    lr=1e-4,
    weight_decay=0.01,
    schedule=SCHEDULE,
    clip_norm=35.0,
)
"""8 GPUs with one key frame each. The configuration's 2e-4 is overridden by the launch script."""
