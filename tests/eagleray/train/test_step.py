"""Losses as (sum, weight): how they are put together, and what happens to what is not finite."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from eagleray.task import LossTerm, Phase, SettingsError, StepContext
from eagleray.train import step as step_module
from eagleray.train.step import LossError, StepModule, seed_step


def run(terms: dict[str, tuple[Any, Any, float]], **phase: Any) -> tuple[Any, nn.Linear]:
    """Run a step whose sums are multiples of one weight (1.0); return its output and the model."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)

    def losses(model: nn.Module, batch: Any, step: StepContext) -> dict[str, LossTerm]:
        w = model.weight.sum()  # type: ignore[union-attr, operator]
        return {n: LossTerm(w * s, weight, factor) for n, (s, weight, factor) in terms.items()}

    context = StepContext(Phase(steps=1, **phase), 0, 1, 0, ("a",))
    return StepModule(model, losses)(None, context), model


@pytest.mark.parametrize("normalize", ["global", "rank"])
def test_terms_are_weighted_means_with_factors(normalize: str) -> None:
    (loss, terms, total), model = run(
        {"a": (6.0, 3.0, 1.0), "b": (5.0, torch.tensor(2.0), 0.5)}, normalize=normalize
    )
    assert {k: float(v) for k, v in terms.items()} == {"a": 2.0, "b": 1.25}
    assert float(loss) == float(total) == 3.25
    loss.backward()
    assert float(model.weight.grad) == 3.25


def test_term_without_weight_adds_nothing_but_stays_connected() -> None:
    (loss, terms, total), model = run({"a": (7.0, 0.0, 1.0)})
    loss.backward()
    assert float(terms["a"]) == float(total) == 0.0
    assert float(model.weight.grad) == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_makes_the_gradient_nan(bad: float) -> None:
    (loss, _, total), model = run({"a": (bad, 1.0, 1.0), "b": (1.0, 1.0, 1.0)})
    loss.backward()
    assert not total.isfinite()
    assert model.weight.grad.isnan().all()


def test_double_precision_is_kept() -> None:
    exact = torch.tensor(1 / 3, dtype=torch.float64)
    model = nn.Linear(1, 1).double()
    context = StepContext(Phase(steps=1), 0, 1, 0)
    step = StepModule(model, lambda m, b, s: {"a": LossTerm(exact * m.weight.sum() ** 0, 1.0)})
    assert float(step(None, context)[2]) == pytest.approx(1 / 3, abs=1e-15)


def test_task_without_losses_is_refused() -> None:
    with pytest.raises(SettingsError, match="no losses"):
        run({})


def test_low_precision_runs_the_forward_in_it() -> None:
    seen = []

    def losses(model: nn.Module, batch: Any, step: StepContext) -> dict[str, LossTerm]:
        out = model(batch)
        seen.append(out.dtype)
        return {"a": LossTerm(out.sum(), 1.0)}

    model = nn.Linear(2, 2)
    context = StepContext(Phase(steps=1, precision="bf16"), 0, 1, 0)
    loss, *_ = StepModule(model, losses)(torch.ones(1, 2), context)
    assert (seen, loss.dtype, model.weight.dtype) == (
        [torch.bfloat16],
        torch.float32,
        torch.float32,
    )


def test_global_generators_depend_on_step_and_sample() -> None:
    phase = Phase(steps=9)

    def draw(step: int, key: str, micro: int = 0) -> float:
        seed_step(StepContext(phase, step, 9, 0, (key,)), micro, rank=0)
        return float(torch.rand(()))

    assert draw(1, "a") == draw(1, "a")
    assert len({draw(1, "a"), draw(2, "a"), draw(1, "b"), draw(1, "a", micro=1)}) == 4


def run_returning(returned: Any, steps: int = 1) -> None:
    model = nn.Linear(3, 1)
    answers = iter(returned if isinstance(returned, list) else [returned])
    step = StepModule(model, lambda m, b, s: next(answers)(m.weight))
    for number in range(steps):
        step(None, StepContext(Phase(steps=9), number, 9, 0, ("a",)))


@pytest.mark.parametrize(
    ("losses", "parts"),
    [
        (lambda w: {"a": LossTerm(w.square(), 3)}, ["sum of loss 'a'", "(1, 3)", ".sum()"]),
        (lambda w: {"a": LossTerm(w.sum(), w[0])}, ["weight of loss 'a'", "(3,)"]),
        (lambda w: {"a": LossTerm(0.5, 1)}, ["sum of loss 'a'", "0.5", "gradient"]),
        (lambda w: {"a": LossTerm(w.sum(), "x")}, ["weight of loss 'a'", "str"]),
        (lambda w: {"a": w.sum()}, ["loss 'a'", "Tensor", "LossTerm(sum, weight)"]),
        (lambda w: {"a": 0.5}, ["loss 'a'", "float", "LossTerm(sum, weight)"]),
        (lambda w: w.sum(), ["Training.losses", "Tensor", "mapping"]),
    ],
)
def test_a_wrong_type_of_loss_is_named(losses: Any, parts: list[str]) -> None:
    with pytest.raises(LossError) as error:
        run_returning(losses)
    assert all(part in str(error.value) for part in parts)


def test_losses_that_change_between_steps_are_refused() -> None:
    def first(w: Any) -> Any:
        return {"a": LossTerm(w.sum(), 1)}

    def second(w: Any) -> Any:
        return {"b": LossTerm(w.sum(), 1)}

    with pytest.raises(LossError, match=r"step 1 .*\(b\), the steps before \(a\)"):
        run_returning([first, second], steps=2)


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (("a",), ["rank 0 has the losses (a, b)", "rank 1 has (a)"]),
        (("b", "a"), ["rank 1 has (b, a)", "same order"]),
        ("loss 'a' is float", ["rank 1: loss 'a' is float"]),
    ],
)
def test_losses_of_ranks_are_compared_before_they_are_added(
    monkeypatch: pytest.MonkeyPatch, other: Any, parts: list[str]
) -> None:
    def gather(answers: list[Any], own: Any) -> None:
        answers[:] = [own, other]

    monkeypatch.setattr(step_module.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(step_module.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(step_module.dist, "all_gather_object", gather)
    with pytest.raises(LossError) as error:
        run_returning(lambda w: {n: LossTerm(w.sum(), 1) for n in ("a", "b")})
    assert all(part in str(error.value) for part in parts)
