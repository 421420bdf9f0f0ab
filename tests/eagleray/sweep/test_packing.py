"""How many trials run at a time: never so many that they wait for each other."""

from __future__ import annotations

import random

import pytest

from eagleray.experiment.schema import ExperimentSettings
from eagleray.scheduling import Machine, Node, NodeType, SchedulingError, WorkerGroup
from eagleray.sweep.plan import trial_group, trials_at_once
from eagleray.task import SettingsError


def group(num_workers=1, cpus=1.0, gpus=0.0):
    return WorkerGroup(num_workers, cpus, gpus, 0.0, "cuda" if gpus else "cpu")


TWO_CPUS = Machine((Node(2),))
EIGHT_GPUS = Machine((Node(64, 8),))
SIXTY_FOUR_GPUS = Machine(tuple(Node(128, 8) for _ in range(8)))


@pytest.mark.parametrize(
    ("machine", "wanted", "expected"),
    [
        (TWO_CPUS, group(), 2),
        (TWO_CPUS, group(2), 1),
        (TWO_CPUS, group(cpus=2), 1),
        (TWO_CPUS, group(cpus=0.5), 4),
        (EIGHT_GPUS, group(gpus=1), 8),
        (EIGHT_GPUS, group(8, gpus=1), 1),
        (EIGHT_GPUS, group(3, gpus=1), 2),
        (EIGHT_GPUS, group(gpus=0.25), 32),
        (EIGHT_GPUS, group(gpus=0.3), 24),
        (EIGHT_GPUS, group(cpus=10, gpus=0.25), 6),
        (SIXTY_FOUR_GPUS, group(gpus=1), 64),
        (SIXTY_FOUR_GPUS, group(8, gpus=1), 8),
        (SIXTY_FOUR_GPUS, group(16, gpus=1), 4),
        (SIXTY_FOUR_GPUS, group(gpus=0.5), 128),
        (Machine((Node(3), Node(3))), group(cpus=2), 2),
        (Machine((Node(0),), (NodeType("gpu", Node(64, 8), 2),)), group(4, gpus=1), 4),
    ],
)
def test_whole_groups_are_packed(machine, wanted, expected):
    assert trials_at_once(machine, [wanted], None) == expected


def test_users_number_is_taken_up_to_what_fits():
    assert trials_at_once(SIXTY_FOUR_GPUS, [group(8, gpus=1)], 3) == 3
    assert trials_at_once(SIXTY_FOUR_GPUS, [group(8, gpus=1)], 100) == 8


def test_mixed_trials_count_as_the_largest():
    assert trials_at_once(EIGHT_GPUS, [group(gpus=0.25), group(4, gpus=1)], None) == 2


def test_no_deadlock_whatever_trials_come_first():
    rng = random.Random(0)
    for _ in range(200):
        nodes = [Node(rng.randint(2, 16), 0) for _ in range(rng.randint(1, 4))]
        groups = [group(rng.randint(1, 3), rng.randint(1, 2)) for _ in range(4)]
        if sum(n.cpus // 2 for n in nodes) < 3:
            continue
        at_once = trials_at_once(Machine(tuple(nodes)), groups, None)
        free = [node.cpus for node in nodes]
        for trial in rng.choices(groups, k=at_once):
            for _ in range(trial.num_workers):
                places = [i for i, cpus in enumerate(free) if cpus >= trial.cpus]
                assert places, (nodes, groups, at_once)
                free[rng.choice(places)] -= trial.cpus


def asked(device="auto", **train):
    return ExperimentSettings(task="tiny", settings=None, device=device, train=train)


def test_trial_takes_its_share_of_a_gpu_where_there_is_one():
    wanted = asked(gpus_per_worker=0.25, cpus_per_worker=2)
    on_gpu, on_cpu = trial_group(wanted, EIGHT_GPUS), trial_group(wanted, TWO_CPUS)
    assert (on_gpu.device, on_gpu.gpus, on_gpu.cpus) == ("cuda", 0.25, 2)
    assert (on_cpu.device, on_cpu.gpus) == ("cpu", 0)
    assert trial_group(asked("cpu"), EIGHT_GPUS).gpus == 0


def test_group_that_never_fits_is_refused():
    with pytest.raises(SchedulingError, match=r"a trial: 3 worker\(s\)"):
        trial_group(asked(num_workers=3, strategy="ddp"), TWO_CPUS)
    with pytest.raises(SchedulingError, match="no GPU"):
        trial_group(asked("cuda"), TWO_CPUS)


def test_fractions_of_a_gpu_are_for_single_workers():
    with pytest.raises((SettingsError, ValueError), match="must not share a GPU"):
        asked(gpus_per_worker=0.5, num_workers=2, strategy="ddp")
    with pytest.raises((SettingsError, ValueError), match="whole numbers and"):
        asked(gpus_per_worker=1.5)
