"""Clusters that start from nothing: what may come is counted, asked for and waited for."""

from __future__ import annotations

import math

import pytest

from eagleray.scheduling import (
    Machine,
    Node,
    NodeType,
    NodeTypes,
    SchedulingError,
    WorkerGroup,
    await_nodes,
    fit_beside,
    fit_workers,
)
from eagleray.scheduling.growing import known_types, machine_of
from eagleray.task import Resources

HEAD, GPU, CPU = Node(0), Node(96, 8), Node(32)
TYPES = NodeTypes(
    (NodeType("head", HEAD, 1, True), NodeType("gpu", GPU, 2), NodeType("cpu", CPU, 4)),
    most_workers=5,
)


def fit(machine, device="auto", asked=None, **resources):
    return fit_workers(
        machine, Resources(**resources), device=device, asked=asked, what="test", setting="x"
    )


@pytest.mark.parametrize("nodes", [(HEAD,), (HEAD, CPU), (HEAD, CPU, GPU)])
def test_what_is_there_now_changes_nothing(nodes):
    """With one CPU node up, stages with a model do not silently take the CPU."""
    group = fit(machine_of(nodes, TYPES), gpus=1, cpus=8)
    assert (group.num_workers, group.device, group.is_elastic) == (16, "cuda", True)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpus": 64}, 2),  # 96 + 96 + 4 x 32 CPUs in sum would hold five
        ({"cpus": 32}, 3 + 3 + 1 + 1 + 1),
        ({"gpus": 1, "cpus": 24}, 8),
        ({"gpus": 8}, 2),
    ],
)
def test_whole_nodes_are_counted_up_to_the_clusters_own_limit(resources, expected):
    assert fit(machine_of((HEAD,), TYPES), **resources).num_workers == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 97}, r"97 CPUs.*0 fit on at most .*2 node\(s\) of type gpu \(96 CPUs, 8 GPUs\)"),
        ({"gpus": 9}, r"9 GPUs.*0 fit"),
        ({"gpus": 1, "asked": 17}, r"17 worker.*16 fit on at most .*type gpu"),
    ],
)
def test_gangs_and_workers_larger_than_any_type_are_refused_by_name(options, message):
    with pytest.raises(SchedulingError, match=message):
        fit(machine_of((HEAD,), TYPES), **options)


def test_types_without_a_gpu_leave_auto_on_the_cpu():
    known = NodeTypes((NodeType("head", HEAD, 1, True), NodeType("cpu", CPU, 4)))
    assert fit(machine_of((HEAD,), known), gpus=1, cpus=32).device == "cpu"
    with pytest.raises(SchedulingError, match="no GPU"):
        fit(machine_of((HEAD,), known), gpus=1, device="cuda")


def test_a_file_that_disagrees_with_the_cluster_is_refused():
    with pytest.raises(SchedulingError, match=r"disagrees.*64 CPUs and 4 GPUs.*type gpu"):
        machine_of((HEAD, Node(64, 4)), TYPES)


def test_a_fixed_cluster_does_not_grow_and_one_without_cpus_must():
    assert not machine_of((Node(8),), None).is_elastic
    empty = machine_of((HEAD,), None)
    assert empty.may_grow and fit(empty, asked=4, cpus=2).num_workers == 4
    beside = fit_beside(
        empty, Resources(), WorkerGroup(2, 1, 0, 0, "cpu"), device="cpu", asked=None, what="t",
        setting="x",
    )  # fmt: skip
    assert beside.num_workers == 1 and beside.is_elastic


def test_the_file_comes_with_the_job(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EAGLERAY_CLUSTER", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert known_types() is None
    text = (
        "head_node_type: head\nmax_workers: 3\navailable_node_types:\n"
        "  head: {resources: {CPU: 0}}\n  gpu: {resources: {CPU: 96, GPU: 8}}\n"
    )
    (tmp_path / "ray_bootstrap_config.yaml").write_text(text)
    assert [t.most for t in known_types().types] == [1, 3], "where `ray up` leaves it on the head"
    monkeypatch.setenv("EAGLERAY_CLUSTER", TYPES.encode())
    assert known_types() == TYPES
    monkeypatch.setenv("EAGLERAY_CLUSTER", str(tmp_path / "ray_bootstrap_config.yaml"))
    assert known_types().most_workers == 3


class Autoscaler:
    """Brings a node some seconds after it was asked; its clock runs while somebody sleeps."""

    def __init__(self, after_s=math.inf, known=TYPES, nodes=(HEAD,)):
        self.now, self.after_s, self.known, self.nodes = 0.0, after_s, known, nodes
        self.asked, self.said = [], []

    def look(self):
        came = (GPU,) if self.asked and self.now >= self.after_s else ()
        return Machine((*self.nodes, *came), self.known.types)

    def sleep(self, seconds):
        self.now += seconds

    def wait(self, group, least=1):
        await_nodes(
            group, least, what="training", note=self.said.append, look=self.look,
            ask=self.asked.append, clock=lambda: self.now, sleep=self.sleep,
        )  # fmt: skip


GANG = WorkerGroup(4, 8, 1, 0, "cuda", is_elastic=True)


def test_nodes_are_asked_for_and_awaited_with_a_word():
    cluster = Autoscaler(after_s=130)
    cluster.wait(GANG, least=4)
    assert cluster.asked == [[{"CPU": 8, "GPU": 1}] * 4, []], "and the request is taken back"
    assert 130 <= cluster.now < 135 and len(cluster.said) == 3
    assert "waiting for nodes that hold 4 worker(s) with 8 CPUs, 1 GPUs" in cluster.said[0]
    assert "type gpu" in cluster.said[0] and "120 of at most 1800 s" in cluster.said[2]


def test_nodes_that_do_not_come_end_the_wait_with_a_reason(monkeypatch):
    monkeypatch.setenv("EAGLERAY_NODES_WAIT_S", "90")
    cluster = Autoscaler()
    with pytest.raises(SchedulingError, match=r"no nodes for 4 worker.*within 90 s.*ray status"):
        cluster.wait(GANG, least=4)
    assert cluster.asked[-1] == [] and cluster.now == 90


def test_what_is_there_is_not_waited_for():
    for cluster, group in (
        (Autoscaler(nodes=(HEAD, GPU)), GANG),
        (Autoscaler(), WorkerGroup(4, 8, 1, 0, "cuda")),
    ):
        cluster.wait(group, least=4)
        assert not cluster.asked and not cluster.said
