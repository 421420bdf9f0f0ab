"""Learning rates of the original Seamless against the engine's stateless schedules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.parity.cases import cases
from tests.parity.every_key import EveryKey, every_key_is_read  # noqa: F401

from eagleray.task import Schedule
from eagleray.train.optimizer import learning_rate, multiplier

SHAPES = {
    "vistas": (Schedule(kind="multistep", gamma=0.1, milestones=(144000, 176000)), 191250),
    "cityscapes": (Schedule(kind="multistep", gamma=0.1, milestones=(36000, 44000)), 48360),
    "poly": (Schedule(kind="poly", power=0.9), 1000),
    "linear": (Schedule(kind="linear", start_factor=1.0, end_factor=0.1), 500),
    "step": (Schedule(kind="step", gamma=0.1, step_size=30), 1),
}
"""Base schedules and lengths: the paper's configurations, and those that the case's README
names.
"""

TOLERANCE = 1e-9


def expected_and_found(data: EveryKey, name: str) -> tuple[list[float], list[float]]:
    """Return the recorded rates and ours; the original was called at the recorded steps only, so
    that its lag of one call is the distance to the entry before.
    """
    shape, total = SHAPES[name]
    config = json.loads(str(data[f"{name}/cfg"]))
    steps = [int(s) for s in data[f"{name}/step"]]
    found = []
    for place, step in enumerate(steps):
        schedule = shape.model_copy(
            update={
                "warmup_steps": config["burn_in_steps"],
                "warmup_start": config["burn_in_start"],
                "lag_steps": step - steps[place - 1] if place else 0,
            }
        )
        found.append(config["base"] * multiplier(schedule, step, total))
    return data[f"{name}/lr"].tolist(), found


@pytest.mark.parametrize("path", cases("seamseg", "lr_schedules"), ids=lambda p: p.stem)
def test_rates_equal_the_original(path: Path) -> None:
    data = EveryKey(path, __name__)
    names = sorted({key.split("/")[0] for key in data})
    assert set(names) <= set(SHAPES)
    for name in names:
        expected, found = expected_and_found(data, name)
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, err_msg=name)


def test_a_call_per_step_acts_one_step_late_after_the_burn_in() -> None:
    schedule = Schedule(
        kind="multistep",
        milestones=(36000,),
        warmup_steps=200,
        warmup_start=0.333,
        first_step=1,
        lag_steps=1,
    )
    at = {t: learning_rate(schedule, 0.01, t - 1, 48360) for t in (1, 200, 201, 36000, 36001)}
    assert at[1] == pytest.approx(0.01 * (1 / 200 * 0.667 + 0.333))
    assert at[200] == at[201] == at[36000] == pytest.approx(0.01)
    assert at[36001] == pytest.approx(0.001)
