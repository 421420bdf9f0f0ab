"""How many workers fit, and what is refused."""

from __future__ import annotations

import pytest

from eagleray.scheduling import (
    Machine,
    Node,
    SchedulingError,
    WorkerGroup,
    fit_beside,
    fit_workers,
    local_machine,
)
from eagleray.task import Resources


def fit(machine, device="auto", asked=None, **resources):
    return fit_workers(
        machine,
        Resources(**resources),
        device=device,
        asked=asked,
        what="test",
        setting="test.workers",
    )


LAPTOP = Machine((Node(8, 0, 16.0),))
GPU_BOX = Machine((Node(16, 4, 128.0),))


@pytest.mark.parametrize(
    ("machine", "resources", "expected"),
    [
        (LAPTOP, {}, (8, 1, 0, "cpu")),
        (LAPTOP, {"cpus": 3}, (2, 3, 0, "cpu")),
        (LAPTOP, {"cpus": 0.5}, (16, 0.5, 0, "cpu")),
        (LAPTOP, {"cpus": 100}, (1, 8, 0, "cpu")),
        (LAPTOP, {"gpus": 1}, (8, 1, 0, "cpu")),
        (LAPTOP, {"memory_gb": 5}, (3, 1, 0, "cpu")),
        (GPU_BOX, {"gpus": 1}, (4, 1, 1, "cuda")),
        (GPU_BOX, {"gpus": 0.5}, (8, 1, 0.5, "cuda")),
        (GPU_BOX, {"gpus": 0.3}, (12, 1, 0.3, "cuda")),
        (GPU_BOX, {"gpus": 2}, (2, 1, 2, "cuda")),
        (GPU_BOX, {"gpus": 1, "cpus": 8}, (2, 8, 1, "cuda")),
        (GPU_BOX, {}, (16, 1, 0, "cpu")),
        (Machine((Node(2), Node(3))), {"cpus": 2}, (2, 2, 0, "cpu")),
    ],
)
def test_as_many_workers_as_fit(machine, resources, expected):
    group = fit(machine, **resources)
    assert (group.num_workers, group.cpus, group.gpus, group.device) == expected


def test_fewer_workers_may_be_asked_for():
    assert fit(LAPTOP, asked=3).num_workers == 3


def test_device_cpu_takes_no_gpus():
    group = fit(GPU_BOX, device="cpu", gpus=1)
    assert (group.num_workers, group.gpus, group.device) == (16, 0, "cpu")


@pytest.mark.parametrize(
    ("machine", "options", "message"),
    [
        (LAPTOP, {"asked": 9}, r"9 worker.*8 fit.*8 CPUs.*\(test\.workers\)"),
        (LAPTOP, {"memory_gb": 17}, r"17 GB.*0 fit.*16\.0 GB"),
        (GPU_BOX, {"gpus": 5}, r"5 GPUs.*0 fit"),
        (LAPTOP, {"gpus": 1, "device": "cuda"}, "no GPU"),
        (Machine(()), {}, "0 fit"),
    ],
)
def test_what_can_never_run_is_refused(machine, options, message):
    with pytest.raises(SchedulingError, match=message):
        fit(machine, **options)


def test_this_machine_has_something():
    (node,) = local_machine().nodes
    assert node.cpus >= 1 and node.memory_gb > 0.1


def beside(machine, group, asked=None, **resources):
    return fit_beside(
        machine,
        Resources(**resources),
        group,
        device="auto",
        asked=asked,
        what="features",
        setting="prepare.workers",
    ).num_workers


@pytest.mark.parametrize(
    ("machine", "trainers", "resources", "expected"),
    [
        (LAPTOP, (2, 1, 0), {}, 6),
        (LAPTOP, (2, 1, 0), {"cpus": 0.5}, 12),
        (GPU_BOX, (2, 1, 1), {"gpus": 1}, 2),
        (GPU_BOX, (2, 1, 1), {"gpus": 0.5}, 4),
        (GPU_BOX, (4, 1, 0.7), {"gpus": 0.3}, 4),
        (GPU_BOX, (2, 1, 0.6), {"gpus": 0.2}, 2 * 2 + 2 * 5),
        (GPU_BOX, (3, 1, 0.7), {"gpus": 1}, 1),
        (GPU_BOX, (2, 6, 1), {"cpus": 2, "gpus": 0.5}, 2),
        (Machine((Node(4, 1), Node(4, 1))), (2, 1, 0.7), {"gpus": 0.3}, 2),
        (Machine((Node(2), Node(6))), (3, 2, 0), {"cpus": 2}, 1),
    ],
)
def test_room_is_kept_for_those_that_read(machine, trainers, resources, expected):
    number, cpus, gpus = trainers
    group = WorkerGroup(number, cpus, gpus, 0.0, "cuda" if gpus else "cpu")
    assert beside(machine, group, **resources) == expected


def test_workers_that_never_fit_beside_others_are_refused_with_both():
    trainers = WorkerGroup(4, 1.0, 1.0, 0.0, "cuda")
    with pytest.raises(SchedulingError, match=r"features: 1 .*beside 4 .*1 GPUs each, but 0 fit"):
        beside(GPU_BOX, trainers, gpus=1)
    with pytest.raises(SchedulingError, match=r"features: 3 .*beside 2"):
        beside(GPU_BOX, WorkerGroup(2, 1.0, 1.0, 0.0, "cuda"), asked=3, gpus=1)
