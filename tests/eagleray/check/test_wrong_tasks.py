"""Every wrong task is told its mistake, by the sentence that stands beside it."""

import json

import pytest
from tests.sixth_task import SquareSettings
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


@pytest.mark.parametrize("wrong", WRONG, ids=lambda cls: cls.__name__)
def test_the_mistake_is_named(wrong, own_files):
    findings = check_task(wrong(SquareSettings(count=4)), inputs=own_files)
    assert [f for f in findings if wrong.sentence in str(f)], [str(f) for f in findings]
    assert len({f.check for f in findings}) <= 3, [str(f) for f in findings]
