"""Units are scored while the device predicts the next ones."""

import threading

import pytest
from tests.sixth_task import SquareTask

from eagleray import api
from eagleray.api import Experiment
from eagleray.experiment import load

PATIENCE_S = 20.0


class Patient(SquareTask):
    """Squares whose first unit is scored only once the second one has been predicted."""

    predicted = threading.Semaphore(0)
    scored = 0

    def predict(self, model, samples):
        found = super().predict(model, samples)
        Patient.predicted.release()
        return found

    def score(self, benchmark, sample, prediction):
        if Patient.scored == 0:
            for _ in range(2):
                assert Patient.predicted.acquire(timeout=PATIENCE_S), "nothing more is predicted"
        Patient.scored += 1
        return super().score(benchmark, sample, prediction)


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    for module in (load, api):
        monkeypatch.setattr(module, "task_type", lambda name: Patient)
    values = {"task": "squares", "storage": str(tmp_path / "storage")}
    return Experiment.from_values(values, inline=True, limit=8)


def test_the_next_batch_is_predicted_before_the_last_one_is_scored(experiment):
    (result,) = experiment.evaluate(checkpoint="initial")
    assert result.units > 1
    assert Patient.scored == result.units
