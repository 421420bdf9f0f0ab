"""The real packages, without a network: MLflow into a database, Weights & Biases offline."""

from __future__ import annotations

import json
import logging
import re

import pytest

from eagleray.experiment.load import make_experiment
from eagleray.runs.evaluation import write_result
from eagleray.runs.records import EvaluationResult
from eagleray.runs.run_folder import RunFolder
from eagleray.track import tracked
from eagleray.track.tell import Told

pytestmark = pytest.mark.slow


def experiment(**track):
    return make_experiment(
        {"task": "toyworld", "name": "exp", "settings": {"scenes": 2}, "track": track}
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody's ~/.netrc
    folder = RunFolder(str(tmp_path / "runs" / "exp" / "main-1"))
    folder.begin(experiment())
    return folder


def log(run, attempt, kind, **values_by_step):
    steps = {int(step.removeprefix("at_")): values for step, values in values_by_step.items()}
    lines = [
        json.dumps({"kind": kind, "total_step": step, "time": 1.7e9 + step, **values})
        for step, values in steps.items()
    ]
    name = f"metrics/{attempt:04d}-{min(steps):08d}.jsonl"
    run.write(name, ("\n".join(lines) + "\n").encode())


def two_commands(run, settings):
    """Train to step 2, be killed after step 3, go on, and evaluate."""
    with pytest.raises(KeyboardInterrupt), tracked(run, settings):
        log(run, 1, "train", at_1={"loss": 3.0}, at_2={"loss": 2.0}, at_3={"loss": 1.5})
        raise KeyboardInterrupt
    with tracked(run, settings):
        log(run, 2, "train", at_3={"loss": 1.5}, at_4={"loss": 1.0, "loss/mask@0.5": 0.25})
    with tracked(run, settings):
        write_result(run, EvaluationResult("val", "best", "miou", {"miou": 62.5}), {})


def test_mlflow_has_one_run_with_every_step_once(run, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="needs the mlflow package: make test-mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    two_commands(run, experiment(mlflow={"uri": uri, "experiment": "streets"}))
    client = mlflow.MlflowClient(tracking_uri=uri)
    where = client.get_experiment_by_name("streets").experiment_id
    (stored,) = client.search_runs([where])
    assert stored.info.run_id == Told.read(run, "mlflow").id
    assert stored.info.status == "FINISHED"
    assert stored.data.params["settings.scenes"] == "2"
    assert stored.data.tags["run"] == "exp/main-1"
    history = client.get_metric_history(stored.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 3.0), (2, 2.0), (3, 1.5), (4, 1.0)]
    assert history[0].timestamp == 1_700_000_001_000
    assert stored.data.metrics["train/loss/mask_0.5"] == 0.25
    assert stored.data.metrics["val/best/miou"] == 62.5
    assert "experiment.yaml" in [f.path for f in client.list_artifacts(stored.info.run_id)]


def test_mlflow_without_a_server_is_named(run, caplog, monkeypatch):
    pytest.importorskip("mlflow", reason="needs the mlflow package: make test-mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        caplog.at_level(logging.WARNING),
        tracked(run, experiment(mlflow={"uri": "http://127.0.0.1:9"})),
    ):
        log(run, 1, "train", at_1={"loss": 3.0})
    assert "mlflow does not take what exp/main-1 logs (" in caplog.text
    assert "mlflow was not told everything of exp/main-1" in caplog.text


def test_wandb_offline_writes_one_run_by_three_commands(run):
    pytest.importorskip("wandb")
    two_commands(run, experiment(wandb={"mode": "offline", "project": "streets"}))
    known = Told.read(run, "wandb").id
    folders = sorted(run.local_path("track/wandb").glob("offline-run-*"))
    assert len(folders) == 3
    assert all(re.search(rf"-{known}(-\d+)?$", folder.name) for folder in folders)
    written = [next(folder.glob("*.wandb")).read_bytes() for folder in folders]
    assert all(len(content) > 100 for content in written)
    assert b"train/loss" in written[0]
    assert b"loss/mask@0.5" in written[1]
    assert b"loss/mask@0.5" not in written[0] + written[2]
    assert b"val/best/miou" in written[2]
    kept = folders[0] / "files" / "eagleray" / "experiment.yaml"
    assert kept.read_bytes() == run.read("experiment.yaml")


def test_wandb_without_a_key_is_named_and_asks_nobody(run, caplog):
    pytest.importorskip("wandb")
    with caplog.at_level(logging.WARNING), tracked(run, experiment(wandb={})):
        log(run, 1, "train", at_1={"loss": 3.0})
    assert (
        "wandb does not take what exp/main-1 logs (EaglerayError: no key: give `wandb login`"
        in (caplog.text)
    )
