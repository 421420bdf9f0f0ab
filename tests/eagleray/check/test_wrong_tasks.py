"""Every wrong task is told its mistake, by the sentence that stands beside it."""

import json

import pytest
from safetensors.torch import save_file
from tests.sixth_task import SquareSettings, SquareTask
from tests.wrong_tasks import evaluation, prediction, stages, training
from tests.wrong_tasks.wrong_task import WrongTask

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
