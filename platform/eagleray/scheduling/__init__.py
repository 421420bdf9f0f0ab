"""Ray's session and the resources of the machine or cluster at hand."""

from eagleray.scheduling.cluster_file import CLUSTER_VARIABLE, NodeTypes, read_cluster_file
from eagleray.scheduling.growing import await_nodes, cluster_machine
from eagleray.scheduling.memory import memory_kills
from eagleray.scheduling.resources import (
    Machine,
    Node,
    NodeType,
    SchedulingError,
    WorkerGroup,
    fit_beside,
    fit_workers,
    local_machine,
    num_places,
    resource_request,
)
from eagleray.scheduling.session import (
    LazySession,
    on_this_node,
    present_machine,
    ray_session,
)

__all__ = [
    "CLUSTER_VARIABLE",
    "LazySession",
    "Machine",
    "Node",
    "NodeType",
    "NodeTypes",
    "SchedulingError",
    "WorkerGroup",
    "await_nodes",
    "cluster_machine",
    "fit_beside",
    "fit_workers",
    "local_machine",
    "memory_kills",
    "num_places",
    "on_this_node",
    "present_machine",
    "ray_session",
    "read_cluster_file",
    "resource_request",
]
