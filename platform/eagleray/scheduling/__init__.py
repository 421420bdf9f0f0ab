"""Ray's session and the resources of the machine or cluster at hand."""

from eagleray.scheduling.memory import memory_kills
from eagleray.scheduling.resources import (
    Machine,
    Node,
    SchedulingError,
    WorkerGroup,
    cluster_machine,
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
    "LazySession",
    "Machine",
    "Node",
    "SchedulingError",
    "WorkerGroup",
    "cluster_machine",
    "fit_beside",
    "fit_workers",
    "local_machine",
    "memory_kills",
    "num_places",
    "on_this_node",
    "present_machine",
    "ray_session",
    "resource_request",
]
