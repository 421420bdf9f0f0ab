"""Several checkpoints on several benchmarks: one pool of workers, one results JSON each."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.sixth_task import SquareTask

from eagleray.evaluate.driver import choose_benchmarks, evaluate_checkpoints, units_digest
from eagleray.evaluate.weights import checkpoint_labels
from eagleray.experiment import load
from eagleray.experiment.load import make_experiment
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.progress import Silent
from eagleray.runs.run_folder import RunFolder
from eagleray.storage import Store
from eagleray.task import Benchmark, SettingsError
from eagleray.train import train_run


class TwoBenchmarks(SquareTask):
    """The squares, scored on both of their splits."""

    def benchmarks(self):
        return (
            *super().benchmarks(),
            Benchmark("train", "train", "accuracy", "Share of hits in training.", {"hit": "bool"}),
        )


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self):
        self.started, self.notes, self.units = [], [], 0

    def start(self, title, total):
        self.started.append((title, total))

    def advance(self, units=1, **info):
        self.units += units

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "task_type", lambda name: TwoBenchmarks)
        experiment = make_experiment(
            {
                "task": "squares",
                "storage": str(folder),
                "evaluate": {"units_per_shard": 8, "workers": 2},
            }
        )
    task, run = TwoBenchmarks(experiment.settings), RunFolder(str(folder / "run"))
    options = RunOptions(inline=True)
    rows = prepare_stages(task, Store(str(folder)), experiment.prepare, options).rows
    train_run(experiment, task, run, rows, options)
    return experiment, task, run, rows


def evaluate(trained, run=None, checkpoints=("last", "initial"), progress=None, inline=True):
    experiment, task, its_run, rows = trained
    return evaluate_checkpoints(
        experiment,
        task,
        run or its_run,
        rows,
        choose_benchmarks(task, ("all",)),
        checkpoints,
        RunOptions(inline=inline, progress=progress or Silent()),
    )


def test_every_checkpoint_is_evaluated_on_every_benchmark(trained):
    progress = Notes()
    results = evaluate(trained, progress=progress)
    pairs = [("val", "last"), ("val", "initial"), ("train", "last"), ("train", "initial")]
    assert [(r.benchmark, r.checkpoint) for r in results] == pairs
    accuracy = {(r.benchmark, r.checkpoint): r.values["accuracy"] for r in results}
    assert min(accuracy["val", "last"], accuracy["train", "last"]) >= 0.9
    assert max(accuracy["val", "initial"], accuracy["train", "initial"]) < 0.9
    assert progress.started == [("evaluate: 4 results", 4 * 32)] and progress.units == 4 * 32
    assert len(progress.notes) == 4 and "train, initial: accuracy" in progress.notes[3]
    run = trained[2]
    for (benchmark, label), result in zip(pairs, results, strict=True):
        assert run.read(f"evaluation/{benchmark}/{label}.json") == result.encode()
    assert set(json.loads(run.read("summary.json"))["results"]) == {
        f"{benchmark}/{label}" for benchmark, label in pairs
    }


def test_what_is_evaluated_already_is_not_evaluated_again(trained):
    first, progress = evaluate(trained), Notes()
    assert evaluate(trained, progress=progress) == first
    assert progress.started == []


def test_an_interrupted_evaluation_goes_on(trained, tmp_path):
    class Stopping(Notes):
        def advance(self, units=1, **info):
            super().advance(units)
            if self.units >= 40:
                raise KeyboardInterrupt

    whole = evaluate(trained)
    run = RunFolder(str(tmp_path / "run"))
    shutil.copytree(trained[2].local_path("checkpoints"), tmp_path / "run/checkpoints")
    with pytest.raises(KeyboardInterrupt):
        evaluate(trained, run, progress=Stopping())
    assert not run.files("evaluation/train")
    again = Notes()
    assert evaluate(trained, run, progress=again) == whole
    assert 0 < again.units < 4 * 32


def test_checkpoints_with_equal_weights_are_computed_once(trained):
    progress = Notes()
    name = sorted(trained[2].files("checkpoints"))[-1].removeprefix("checkpoints/")
    name = name.removesuffix(".json")
    results = evaluate(trained, checkpoints=("last", name), progress=progress)
    assert [r.checkpoint for r in results] == ["last", name] * 2
    assert results[0].values == results[1].values
    assert results[0].rows == results[1].rows and progress.units <= 2 * 32


@pytest.mark.usefixtures("ray_cluster")
def test_workers_share_all_pairs_and_give_the_same_results(trained, tmp_path):
    inline = evaluate(trained)
    run = RunFolder(str(tmp_path / "run"))
    shutil.copytree(trained[2].local_path("checkpoints"), tmp_path / "run/checkpoints")
    progress = Notes()
    assert evaluate(trained, run, progress=progress, inline=False) == inline
    assert progress.started == [("evaluate: 4 results", 4 * 32)] and progress.units == 4 * 32
    assert sum("2 workers" in note for note in progress.notes) == 1, "one pool serves all pairs"
    for result in inline:
        rows = f"evaluation/{result.benchmark}/{result.rows}"
        markers = run.files(f"{rows}/markers")
        assert len(markers) > 1
        for path in markers:
            assert run.read(path) == trained[2].read(path)


def test_a_checkpoint_goes_by_the_name_that_says_something():
    names = ["best", "initial", "main-000040", "/a/model.safetensors", "b c.safetensors", "/x/y/"]
    assert list(checkpoint_labels(names).values()) == [
        "best",
        "initial",
        "main-000040",
        "a",
        "b-c",
        "y",
    ]


def test_two_checkpoints_of_one_name_are_refused():
    with pytest.raises(SettingsError, match=r"would both be called 'x'.*rename"):
        checkpoint_labels(["a/x.safetensors", "b/x.safetensors"])
    assert list(checkpoint_labels(["best", "best"])) == ["best"]


def test_an_unknown_checkpoint_is_refused_before_anything_is_computed(trained, tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    shutil.copytree(trained[2].local_path("checkpoints"), tmp_path / "run/checkpoints")
    with pytest.raises(SettingsError, match="there is no checkpoint 'nowhere'"):
        evaluate(trained, run, checkpoints=("last", "nowhere"))
    assert not run.files("evaluation", recursive=True)


def test_the_digest_of_units_knows_their_order_and_their_borders():
    assert units_digest(["a", "b"]) == units_digest(iter(["a", "b"]))
    assert len({units_digest(k) for k in (["a", "b"], ["b", "a"], ["ab"], [])}) == 4
