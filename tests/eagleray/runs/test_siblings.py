"""A new setting does not rename earlier runs; a run that is new says what it differs in."""

from __future__ import annotations

from typing import Annotated

from tests.sixth_task import SquareSettings

from eagleray.experiment.schema import ExperimentSettings
from eagleray.runs.run_folder import results_digest, run_of
from eagleray.runs.siblings import nearest_sibling
from eagleray.task import LATER, Phase, Settings


class Before(Settings):
    a: int = 1


class After(Before):
    b: Annotated[int, LATER] = 2
    c: Annotated[tuple[int, ...], LATER] = (1,)


class Careless(Before):
    b: int = 2


def experiment(tmp_path, settings, **values):
    return ExperimentSettings(
        task="t",
        name="exp",
        storage=str(tmp_path),
        settings=settings,
        **{"train": {"phases": (Phase(steps=3),)}, **values},
    )


def test_a_later_setting_at_its_default_keeps_the_runs_name(tmp_path):
    old = results_digest(experiment(tmp_path, Before()))
    assert results_digest(experiment(tmp_path, After())) == old
    assert results_digest(experiment(tmp_path, After(b=2, c=(1,)))) == old
    assert results_digest(experiment(tmp_path, After(b=3))) != old
    assert results_digest(experiment(tmp_path, After(c=()))) != old
    assert results_digest(experiment(tmp_path, Careless())) != old
    assert After.model_validate(After(b=3).model_dump(mode="json")) == After(b=3)


def begun(tmp_path, settings, **values):
    asked = experiment(tmp_path, settings, **values)
    run = run_of(asked)
    run.begin(asked)
    return run


def test_a_new_run_names_its_nearest_sibling_and_what_differs(tmp_path):
    far = experiment(tmp_path, Before(a=5), seed=3)
    run_of(far).begin(far)
    near = begun(
        tmp_path, Before(), device="cpu", train={"phases": (Phase(steps=3),), "log_every": 7}
    )
    asked = experiment(tmp_path, Careless())
    line = nearest_sibling(run_of(asked), asked)
    assert line is not None
    assert line.endswith(f"does not go on from {near.name}: settings.b is 2 here, not set there")
    asked = experiment(tmp_path, Before(), train={"phases": (Phase(steps=4),)})
    line = nearest_sibling(run_of(asked), asked)
    assert line is not None and line.endswith("train.phases.0.steps is 4 here, 3 there")


def test_nothing_is_said_of_a_run_that_goes_on_or_is_the_first(tmp_path):
    asked = experiment(tmp_path, Before())
    assert nearest_sibling(run_of(asked), asked) is None
    begun(tmp_path, Before())
    assert nearest_sibling(run_of(asked), asked) is None
    other = experiment(tmp_path, SquareSettings(), run="other")
    assert nearest_sibling(run_of(other), other) is None
