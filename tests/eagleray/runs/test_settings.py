"""Settings of runs as flat names, and what differs between runs."""

from __future__ import annotations

import pytest

from eagleray.runs.settings import differing, read_settings
from eagleray.storage import Store
from eagleray.task import InputError


def test_settings_are_flat_and_go_through_lists_of_mappings(tmp_path):
    run = Store(str(tmp_path))
    run.write("experiment.yaml", b"task: t\ntrain:\n  phases:\n  - {lr: 0.1, betas: [0.9, 0.99]}\n")
    assert read_settings(run) == {
        "task": "t",
        "train.phases.0.lr": 0.1,
        "train.phases.0.betas": [0.9, 0.99],
    }


@pytest.mark.parametrize(
    "content", [b"a: [", b"- 1", b"\xff\xfe\x01", b"!!python/object/apply:os.system ['true']"]
)
def test_damaged_settings_are_named(tmp_path, content):
    run = Store(str(tmp_path))
    run.write("experiment.yaml", content)
    with pytest.raises(InputError, match="damaged"):
        read_settings(run)


def test_missing_settings_are_named(tmp_path):
    with pytest.raises(InputError, match=r"has no experiment\.yaml"):
        read_settings(Store(str(tmp_path)))


def test_only_what_differs_is_listed_and_where_a_run_lies_is_not_a_setting():
    runs = [
        {"seed": 0, "task": "t", "storage": "a", "lr": 0.1},
        {"seed": 0, "task": "t", "storage": "b", "momentum": 0.9, "lr": 0.1},
    ]
    assert differing(runs) == {"momentum": [None, 0.9]}
