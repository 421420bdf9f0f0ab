"""Dynamic loss scale for float16, the same for every strategy (torch's GradScaler cannot see ZeRO's
partitions).
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_SCALE = 65536.0
"""Starting value, growth and backoff are those of ``torch.amp.GradScaler``."""
GROWTH_FACTOR = 2.0
BACKOFF_FACTOR = 0.5
GROWTH_INTERVAL = 2000


@dataclass
class LossScale:
    """Factor of the loss before the backward pass; 1 and constant unless ``enabled``."""

    enabled: bool
    value: float = 1.0
    good_steps: int = 0

    def __post_init__(self) -> None:
        if self.enabled and self.value == 1.0:
            self.value = INITIAL_SCALE

    @property
    def calibrating(self) -> bool:
        """Whether a gradient that is not finite may just mean that the scale is too large."""
        return self.enabled and self.value > 1.0

    def update(self, *, applied: bool) -> None:
        """Shrink after a skipped step, grow after many good ones."""
        if not self.enabled:
            return
        if not applied:
            self.value, self.good_steps = max(self.value * BACKOFF_FACTOR, 1.0), 0
            return
        self.good_steps += 1
        if self.good_steps == GROWTH_INTERVAL:
            self.value, self.good_steps = self.value * GROWTH_FACTOR, 0
