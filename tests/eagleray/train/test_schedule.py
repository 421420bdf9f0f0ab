"""Learning rates against torch's schedulers and the formulas of the papers."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
import torch

from eagleray.task import Phase, Schedule
from eagleray.train.optimizer import learning_rate


def torch_rates(make: object, steps: int) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


LR = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("schedule", "oracle"),
    [
        (Schedule(), lambda o: LR.ConstantLR(o, factor=1.0)),
        (Schedule(kind="poly", power=0.9), lambda o: LR.PolynomialLR(o, 40, power=0.9)),
        (Schedule(kind="cosine", end_lr=0.01), lambda o: LR.CosineAnnealingLR(o, 40, eta_min=0.01)),
        (Schedule(kind="step", step_size=7, gamma=0.3), lambda o: LR.StepLR(o, 7, gamma=0.3)),
        (
            Schedule(kind="multistep", milestones=(10,), milestone_fractions=(0.75,), gamma=0.5),
            lambda o: LR.MultiStepLR(o, [10, 30], gamma=0.5),
        ),
        (
            Schedule(kind="linear", start_factor=0.5, end_factor=0.25),
            lambda o: LR.LinearLR(o, 0.5, 0.25, total_iters=40),
        ),
    ],
    ids=["constant", "poly", "cosine", "step", "multistep", "linear"],
)
def test_shape_equals_torch(schedule: Schedule, oracle: object) -> None:
    found = [learning_rate(schedule, 0.1, step, 40) for step in range(40)]
    assert found == pytest.approx(torch_rates(oracle, 40))


def test_warmup_from_one_third_reaches_the_base_rate() -> None:
    schedule = Schedule(kind="multistep", milestones=(900,), warmup_steps=500)
    rates = [learning_rate(schedule, 0.07, step, 1000) for step in (0, 250, 500, 501, 900)]
    assert rates == pytest.approx([0.07 / 3, 0.07 * 2 / 3, 0.07, 0.07, 0.007])


POP3D = Schedule(
    kind="cosine",
    end_lr=1e-6,
    warmup_steps=500,
    warmup_start_lr=1e-5,
    warmup_reaches_base=False,
    first_step=-1,
)
"""Warm-up from 1e-5, cosine to 1e-6 from clock 500 on, iteration t runs with the value of t - 1."""

POP3D_RATES = {
    0: (1e-05, 1e-05),
    1: (1e-05, 1e-05),
    2: (1.018e-05, 1e-05),
    250: (5.482000000000001e-05, 1e-05),
    499: (9.964000000000002e-05, 1e-05),
    500: (9.982000000000002e-05, 1e-05),
    501: (9.05463412215599e-05, 9.140576474687265e-06),
    502: (9.050974729161952e-05, 9.137249753783593e-06),
    1000: (6.58554882053464e-05, 6.895953473213309e-06),
    2400: (1.3981572284468436e-06, 1.0361961116769857e-06),
    2499: (1.0001563344514224e-06, 1.0000142122228565e-06),
}
"""Rates that the original program used at these iterations of 2500, for the base rates 1e-4 and
1e-5."""


def test_rates_are_those_of_the_original_pop3d() -> None:
    for step, expected in POP3D_RATES.items():
        rates = tuple(learning_rate(POP3D, lr, step, 2500) for lr in (1e-4, 1e-5))
        assert rates == pytest.approx(expected, rel=1e-9), step


def test_absolute_ends_are_the_same_for_every_group_and_one_step_late() -> None:
    total, base, schedule = 42192, 1e-4, POP3D

    def formula(t: int, lr: float) -> float:
        if t < 500:
            return 1e-5 + (lr - 1e-5) * t / 500
        return 1e-6 + (lr - 1e-6) * (1 + math.cos(math.pi * t / total)) / 2

    for lr in (base, base * 0.1):
        assert learning_rate(schedule, lr, 0, total) == pytest.approx(1e-5)
        for step in (1, 17, 499, 500, 501, 502, 20000, total - 1):
            assert learning_rate(schedule, lr, step, total) == pytest.approx(formula(step - 1, lr))


def test_warmup_reaches_the_base_rate_unless_told_otherwise() -> None:
    usual = Schedule(kind="cosine", warmup_steps=20)
    rates = [learning_rate(usual, 1.0, t, 100) for t in (19, 20, 21)]
    cosine = (1 + math.cos(math.pi * 0.21)) / 2
    assert rates == pytest.approx([1 / 3 + 2 / 3 * 0.95, 1.0, cosine])


def test_field_that_came_later_moves_no_name_of_a_run() -> None:
    """The digest was recorded before ``warmup_reaches_base`` was there."""
    plain = Phase(name="a", steps=4, schedule=Schedule(kind="cosine", warmup_steps=2))
    text = json.dumps(plain.model_dump(mode="json"), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "0cf16519b0252c88"
    assert POP3D.model_dump()["warmup_reaches_base"] is False
    assert Schedule.model_validate(POP3D.model_dump(mode="json")) == POP3D


def test_held_schedule_changes_once_per_epoch() -> None:
    schedule = Schedule(kind="cosine", end_factor=1 / 30, hold_steps=1000)
    rates = [learning_rate(schedule, 0.01, step, 5000) for step in (0, 999, 1000, 1999, 4999)]
    epochs = [0, 0, 1, 1, 4]
    expected = [
        0.01 / 30 + (0.01 - 0.01 / 30) * (1 + math.cos(math.pi * e / 5)) / 2 for e in epochs
    ]
    assert rates == pytest.approx(expected)


def test_frozen_group_keeps_rate_zero() -> None:
    assert learning_rate(Schedule(kind="cosine", end_lr=1e-6), 0.0, 3, 10) == 0.0
