"""Several checkpoints on several benchmarks: one pool of workers, one results JSON each."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from tests.sixth_task import SquareTask

from eagleray.evaluate.driver import (
    choose_benchmarks,
    evaluate_checkpoints,
    mean_of_parts,
    units_digest,
)
from eagleray.evaluate.weights import checkpoint_labels
from eagleray.experiment import load
from eagleray.experiment.load import make_experiment
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.progress import Silent
from eagleray.runs.evaluation import read_evaluations, read_units
from eagleray.runs.run_folder import RunFolder
from eagleray.storage import Store
from eagleray.task import Benchmark, InputError, Metrics, SettingsError
from eagleray.train import train_run
from eagleray.train.validation import find_benchmark


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


class Mean(TwoBenchmarks):
    """Both splits, and their mean."""

    def benchmarks(self):
        both = super().benchmarks()
        names = tuple(one.name for one in both)
        return (*both, replace(both[0], name="mean", source="", mean_of=names))


def test_a_mean_of_benchmarks_predicts_no_unit_again(trained, tmp_path):
    experiment, _, before, rows = trained
    evaluate(trained)
    run, progress = RunFolder(str(tmp_path / "run")), Notes()
    shutil.copytree(before.local_path("checkpoints"), tmp_path / "run/checkpoints")
    shutil.copytree(before.local_path("evaluation"), tmp_path / "run/evaluation")
    task = Mean(experiment.settings)
    options = RunOptions(inline=True, progress=progress)
    chosen = choose_benchmarks(task, ("all",))
    results = evaluate_checkpoints(experiment, task, run, rows, chosen, ["last"], options)
    val, train, mean = results
    assert progress.started == [], "its units are those of the others"
    assert mean.value == pytest.approx((val.value + train.value) / 2)
    assert mean.units == val.units + train.units and mean.units_digest != val.units_digest
    alone = evaluate_checkpoints(experiment, task, run, rows, chosen[2:], ["last"], options)
    assert alone == [mean] and progress.started == []
    with pytest.raises(InputError, match="mean of other benchmarks"):
        read_units(run, next(one for one in read_evaluations(run) if one.benchmark == "mean"))
    with pytest.raises(SettingsError, match="validate on one of val, train"):
        find_benchmark(task, "mean")


def test_a_mean_counts_what_all_parts_have_and_classes_where_they_are():
    parts = [
        Metrics({"miou": 10.0, "new": 1.0}, {"a": {"iou": 10.0}}),
        Metrics({"miou": 20.0}, {"a": {"iou": 20.0}, "b": {"iou": 5.0}}),
    ]
    assert mean_of_parts(parts) == Metrics({"miou": 15.0}, {"a": {"iou": 15.0}, "b": {"iou": 5.0}})


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
