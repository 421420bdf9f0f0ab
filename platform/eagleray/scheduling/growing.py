"""The cluster that this process has joined: its nodes, the kinds that may come, and waiting for
them with a word and a limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from eagleray.scheduling.cluster_file import CLUSTER_VARIABLE, NodeTypes, read_cluster_file
from eagleray.scheduling.resources import (
    Machine,
    Node,
    SchedulingError,
    WorkerGroup,
    describe,
    num_places,
    resource_request,
)

_GB = 1e9
_BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` puts a cluster's file on its head."""

WAIT_VARIABLE = "EAGLERAY_NODES_WAIT_S"
_WAIT_S = 1800.0
"""How long nodes are waited for: machines with 8 GPUs take some ten minutes to boot and to pull an
image, and spot machines are not always to be had at once."""

_LOOK_EVERY_S = 2.0
_SAY_EVERY_S = 60.0


def cluster_machine() -> Machine:
    """Return the living nodes of the Ray that this process has joined, and what may come.

    Raises:
        SchedulingError: The cluster's file disagrees with the cluster.
        SettingsError: The cluster's file cannot be read.
    """
    import ray

    nodes = tuple(
        Node(
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            node["Resources"].get("memory", 0.0) / _GB,
        )
        for node in ray.nodes()
        if node["Alive"]
    )
    return machine_of(nodes, known_types())


def known_types() -> NodeTypes | None:
    """Return the node types of the cluster's file, None where there is none; raises SettingsError
    where it cannot be read.
    """
    given = os.environ.get(CLUSTER_VARIABLE, "")
    if given.startswith("{"):
        return NodeTypes.decode(given)
    if given:
        return read_cluster_file(Path(given).expanduser())
    bootstrap = _BOOTSTRAP.expanduser()
    if os.environ.get("RAY_ADDRESS") and bootstrap.is_file():
        return read_cluster_file(bootstrap)
    return None


def machine_of(nodes: Sequence[Node], known: NodeTypes | None) -> Machine:
    """Return the machine of these nodes and of the types of a cluster's file.

    Without a file, a cluster in which no node offers a CPU is taken for one that grows: nothing
    could ever run in it.

    Raises:
        SchedulingError: A node is of none of the types.
    """
    if known is None:
        return Machine(tuple(nodes), may_grow=bool(nodes) and not any(n.cpus for n in nodes))
    for node in nodes:
        if not any((t.node.cpus, t.node.gpus) == (node.cpus, node.gpus) for t in known.types):
            machine = Machine((), known.types)
            raise SchedulingError(
                f"the cluster's file disagrees with the cluster: a node with {node.cpus:g} CPUs "
                f"and {node.gpus:g} GPUs is there, but the file says {describe(machine)}. Give the "
                "file that this cluster was started from (eagleray submit --cluster FILE)"
            )
    return Machine(tuple(nodes), known.types, known.most_workers)


def await_nodes(
    group: WorkerGroup,
    least: int,
    *,
    what: str,
    note: Callable[[str], None],
    look: Callable[[], Machine] = cluster_machine,
    ask: Callable[[list[dict[str, float]]], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ask the autoscaler for nodes that hold some workers of a group, and wait for them; returns
    at once where they are there, or where the cluster does not grow.

    Args:
        group: What the workers need.
        least: How many must fit before work begins.
        what: Whose workers, for messages.
        note: Told what is awaited, each minute.
        look: Returns what is there.
        ask: Asks the autoscaler for bundles of resources; an empty list takes that back.
        clock: Seconds.
        sleep: Waits.

    Raises:
        SchedulingError: They did not come in time.
    """
    if not group.is_elastic or num_places(look().present, group) >= least:
        return
    ask = ask or _ask
    limit_s = float(os.environ.get(WAIT_VARIABLE, _WAIT_S))
    wanted = (
        f"{least} worker(s) with {group.cpus:g} CPUs, {group.gpus:g} GPUs and "
        f"{group.memory_gb:g} GB each"
    )
    ask([_bundle(group)] * least)
    began, said = clock(), float("-inf")
    try:
        while num_places((machine := look()).present, group) < least:
            waited_s = clock() - began
            if waited_s >= limit_s:
                raise SchedulingError(
                    f"{what}: no nodes for {wanted} came within {limit_s:g} s "
                    f"({WAIT_VARIABLE}); there are {describe(machine.present)}. See what the "
                    "autoscaler says (`ray status`): quotas, no spot machines to be had, or no "
                    "type that is large enough"
                )
            if waited_s - said >= _SAY_EVERY_S:
                said = waited_s
                kinds = f" ({describe(machine)})" if machine.types else ""
                note(
                    f"{what}: waiting for nodes that hold {wanted}{kinds}; "
                    f"{waited_s:.0f} of at most {limit_s:.0f} s"
                )
            sleep(_LOOK_EVERY_S)
    finally:
        ask([])


def _bundle(group: WorkerGroup) -> dict[str, float]:
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    return {names[name]: amount for name, amount in resource_request(group).items()}


def _ask(bundles: list[dict[str, float]]) -> None:
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=bundles)
