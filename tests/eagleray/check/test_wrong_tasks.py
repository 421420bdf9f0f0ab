"""Every wrong task is told its mistake, by the sentence that stands beside it."""

import json
from typing import ClassVar

import pytest
from safetensors.torch import save_file
from tests.sixth_task import SquareSettings, SquareTask
from tests.wrong_tasks import evaluation, prediction, stages, training
from tests.wrong_tasks.wrong_task import WrongTask

import eagleray.api
from eagleray.experiment import load
from eagleray.experiment.schema import PrepareSettings
from eagleray.options import RunOptions
from eagleray.prepare import prepare_stages
from eagleray.prepare.faults import FaultError
from eagleray.progress import Silent
from eagleray.storage import Store
from eagleray.task import EaglerayError
from eagleray.testing import check_task

WRONG = [
    value
    for module in (stages, training, evaluation, prediction)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, WrongTask) and value.sentence
]


@pytest.fixture(scope="module")
def own_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    for name in ("one", "two"):
        (folder / f"{name}.json").write_text(json.dumps([[0, 1] * 3] * 6))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "weights.safetensors"
    save_file(SquareTask(SquareSettings()).build().state_dict(), path)
    return path


def test_an_import_that_is_right_goes_round(published):
    task = prediction.Imports(SquareSettings(count=4))
    assert check_task(task, published=published) == []


@pytest.mark.parametrize("wrong", WRONG, ids=lambda cls: cls.__name__)
def test_the_mistake_is_named(wrong, own_files, published):
    task = wrong(SquareSettings(count=4))
    findings = check_task(task, inputs=own_files, published=published)
    assert [f for f in findings if wrong.sentence in str(f)], [str(f) for f in findings]
    assert len({f.check for f in findings}) <= 3, [str(f) for f in findings]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (stages.BareRecords, "give Record for a sample; each sample needs a sequence of Records"),
        (stages.StringAsFile, "file 'note.txt' of record 'train-0000' is str; files are bytes"),
        (stages.OneResultTooFew, "process() gives 0 results for 1 samples"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_prepare_names_the_mistake_and_rejects_nothing(tmp_path, wrong, sentence):
    task = wrong(SquareSettings(count=4))
    with pytest.raises(FaultError) as caught:
        prepare_stages(task, Store(str(tmp_path)), PrepareSettings(), RunOptions(inline=True))
    assert sentence in str(caught.value)
    assert not list(tmp_path.rglob("markers/*.json"))


def test_prepare_says_where_there_is_nothing_to_prepare(tmp_path):
    class Notes(Silent):
        lines: ClassVar[list] = []

        def note(self, text):
            self.lines.append(text)

    task = stages.NoItems(SquareSettings())
    options = RunOptions(inline=True, progress=Notes())
    prepare_stages(task, Store(str(tmp_path)), PrepareSettings(), options)
    assert [line for line in Notes.lines if "squares:train: WARNING: there are no items" in line]


def test_evaluate_names_a_metric_of_no_units(tmp_path, monkeypatch):
    for module in (load, eagleray.api):
        monkeypatch.setattr(module, "task_type", lambda name: evaluation.DividesByZero)
    values = {
        "task": "squares",
        "storage": str(tmp_path),
        "settings": {"count": 3, "broken": [0, 1, 2]},
    }
    experiment = eagleray.api.Experiment.from_values(values, inline=True)
    with pytest.raises(EaglerayError, match="benchmark 'val' has no units to compute a metric of"):
        experiment.evaluate(checkpoint="initial")
