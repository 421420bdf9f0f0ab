"""Settings of use: no part of what a run is, but of what is computed with it."""

from typing import Annotated, ClassVar

import pytest
from tests.sixth_task import SquareSettings, SquareTask

from eagleray import api
from eagleray.api import Experiment
from eagleray.evaluate.weights import changed_use
from eagleray.experiment import load
from eagleray.runs.run_folder import results_digest, run_of, training_digest
from eagleray.task import OF_USE, Benchmark, Settings, SettingsError, with_use, without_use


class Views(Settings):
    """How often one looks."""

    times: int = 1
    """How often."""
    flip: bool = False
    """Mirrored too."""


class UsedSettings(SquareSettings):
    """The squares, with settings of use."""

    views: Annotated[Views, OF_USE] = Views()
    """Views."""
    bias: Annotated[int, OF_USE] = 0
    """Added to each prediction."""


class UsedTask(SquareTask):
    settings_type: ClassVar[type[Settings]] = UsedSettings

    def benchmarks(self):
        (own,) = super().benchmarks()
        return (
            own,
            Benchmark("opposite", "val", own.metric, "The other one.", own.schema, use={"bias": 1}),
        )

    def predict(self, model, samples):
        return [(label + self.settings.bias) % 2 for label in super().predict(model, samples)]


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    for module in (load, api):
        monkeypatch.setattr(module, "task_type", lambda name: UsedTask)

    def make(**settings):
        values = {"task": "squares", "storage": str(tmp_path), "settings": settings}
        return Experiment.from_values(values, inline=True, limit=8)

    return make


def test_the_identity_is_that_of_the_defaults(experiment):
    plain, used = experiment().settings, experiment(bias=1, views={"times": 3}).settings
    assert training_digest(plain) == results_digest(plain) == training_digest(used)
    assert results_digest(used) != results_digest(plain)
    assert training_digest(experiment(noise=0.5).settings) != training_digest(plain)
    assert without_use(used.settings) == plain.settings.model_dump(mode="json")


def test_a_run_that_goes_by_all_its_settings_is_found_first(experiment):
    used = experiment(bias=1).settings
    old = run_of(used, own=True)
    assert run_of(used).name == run_of(experiment().settings).name != old.name
    old.begin(used)
    assert run_of(used).name == old.name


def test_evaluate_and_predict_find_the_trained_run(experiment):
    first = experiment()
    first.train()
    (own,) = first.evaluate(checkpoint="last")
    second = experiment(bias=1)
    assert changed_use(second.run_folder, second.settings) == {"bias": 1}
    (other,) = second.evaluate(checkpoint="last")
    assert other.value == pytest.approx(1 - own.value)
    assert other.checkpoint.startswith("last-")
    stored = {(r.benchmark, r.checkpoint) for r in first.run_folder.summary().results}
    assert stored == {("val", "last"), ("val", other.checkpoint)}  # neither replaces the other
    assert second.baselines(first.run_folder.name, checkpoint="last").keys() == {
        ("val", other.checkpoint)
    }


def test_a_benchmark_states_settings_of_use(experiment):
    one = experiment()
    one.train()
    own, opposite = one.evaluate(("all",), checkpoint="last")
    assert opposite.value == pytest.approx(1 - own.value)
    assert own.rows != opposite.rows


def test_a_benchmark_may_state_nothing_else(experiment):
    settings = experiment().settings.settings
    assert with_use(settings, {"views": {"times": 2}}, "x").views == Views(times=2)
    for stated in ({"noise": 0.5}, {"views": {"flips": True}}):
        with pytest.raises(SettingsError, match="none of use"):
            with_use(settings, stated, "benchmark 'x'")
    with pytest.raises(SettingsError, match="not allowed"):
        with_use(settings, {"bias": "many"}, "benchmark 'x'")
