"""What the machine or cluster has, and how many workers of a kind fit on it; never waits for what
is not there.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from eagleray.task import EaglerayError, Resources

_GB = 1e9
_ROUNDING = 1e-6
"""Slack against rounding of fractional CPUs and GPUs."""


class SchedulingError(EaglerayError):
    """Resources were asked for that the machine or cluster can never give."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine: logical CPUs, GPUs, and memory in GB that workers may take."""

    cpus: float
    gpus: float = 0.0
    memory_gb: float = math.inf


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of node that an autoscaler adds.

    Args:
        name: What the cluster's file calls it.
        node: What one of them has; memory is infinite where the file does not say it.
        most: How many there may be.
        is_head: It is the one that the cluster begins with.
    """

    name: str
    node: Node
    most: int
    is_head: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """All nodes that are there, and the kinds that may come where an autoscaler adds some.

    Args:
        nodes: Those that are there.
        types: Kinds of the grown cluster, the present nodes' among them; empty where it does not
            grow, or nobody knows into what.
        most_workers: Nodes of all kinds together, without the one of the head.
        may_grow: It grows, but nobody knows into what.
    """

    nodes: tuple[Node, ...]
    types: tuple[NodeType, ...] = ()
    most_workers: float = math.inf
    may_grow: bool = False

    @property
    def gpus(self) -> float:
        """The most GPUs that a node has, present or to come."""
        nodes = (*self.nodes, *(t.node for t in self.types if t.most))
        return max((node.gpus for node in nodes), default=0.0)

    @property
    def present(self) -> Machine:
        """The nodes that are there, as if none came."""
        return Machine(self.nodes)

    @property
    def is_elastic(self) -> bool:
        """Whether nodes may yet come."""
        return self.may_grow or bool(self.types)


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """Workers that fit: their number, what each one gets, and the device that its models run on."""

    num_workers: int
    cpus: float
    gpus: float
    memory_gb: float
    device: str
    is_elastic: bool = False
    """Nodes for some of them may yet have to come, so that work begins with the first worker."""


def local_machine() -> Machine:
    """Return the machine that this process runs on."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GB
    cpus = len(os.sched_getaffinity(0))
    return Machine((Node(cpus, torch.cuda.device_count(), memory),))


def fit_workers(
    machine: Machine,
    resources: Resources,
    *,
    device: str,
    asked: int | None,
    what: str,
    setting: str,
) -> WorkerGroup:
    """Return how many workers fit and what each one gets.

    GPUs are left out on a machine without one, and a worker that asks for more CPUs than a machine
    has gets that machine's; where nodes may come, GPUs are used if a kind of them has one, and a
    worker that fits on none is refused.

    Args:
        machine: What is there.
        resources: What one worker asks for.
        device: ``cpu``, ``cuda`` or ``auto`` (GPUs if there are any).
        asked: Number of workers that the user wants; None for as many as fit.
        what: Whose workers, for messages.
        setting: What says how many and how large they are, for messages.

    Raises:
        SchedulingError: Not one worker, or not as many as asked, can ever run.
    """
    uses_gpu = resources.gpus > 0 and device != "cpu" and machine.gpus > 0
    if device == "cuda" and resources.gpus > 0 and not uses_gpu:
        raise SchedulingError(
            f"{what}: device 'cuda' was asked for, but there is no GPU; use device 'auto' or 'cpu'"
        )
    cpus = resources.cpus
    if not machine.is_elastic:
        cpus = min(cpus, max(max((n.cpus for n in machine.nodes), default=0.0), 1.0))
    group = WorkerGroup(
        asked or 1,
        cpus,
        resources.gpus if uses_gpu else 0.0,
        resources.memory_gb,
        "cuda" if uses_gpu else "cpu",
        is_elastic=machine.is_elastic,
    )
    room = num_places(machine, group)
    if machine.may_grow:
        room = max(room, asked or 1)  # who waits for nodes will see
    if room < (asked or 1):
        raise SchedulingError(
            f"{what}: {asked or 1} worker(s) with {group.cpus:g} CPUs, {group.gpus:g} GPUs and "
            f"{group.memory_gb:g} GB each were asked for, but {room} fit on "
            f"{describe(machine)}; ask for fewer or smaller workers "
            f"({setting}) or a larger machine"
        )
    return replace(group, num_workers=asked or room)


def fit_beside(
    machine: Machine,
    resources: Resources,
    beside: WorkerGroup | None,
    *,
    device: str,
    asked: int | None,
    what: str,
    setting: str,
) -> WorkerGroup:
    """Return how many workers fit beside another group that runs at the same time, for which room
    is kept: on GPUs of their own, or on what the others leave of theirs.

    Args:
        machine: What is there.
        resources: What one worker asks for.
        beside: The other group, packed onto as few machines as hold it; None for none.
        device: As in ``fit_workers``.
        asked: As in ``fit_workers``.
        what: As in ``fit_workers``.
        setting: As in ``fit_workers``.

    Raises:
        SchedulingError: Not one worker, or not as many as asked, fit beside the others.
    """
    first = asked if beside is None else 1
    kind = fit_workers(machine, resources, device=device, asked=first, what=what, setting=setting)
    if beside is None:
        return kind
    room = _room_beside(machine, beside, kind)
    if machine.may_grow:
        room = max(room, asked or 1)
    if room < (asked or 1):
        raise SchedulingError(
            f"{what}: {asked or 1} worker(s) with {kind.cpus:g} CPUs, {kind.gpus:g} GPUs and "
            f"{kind.memory_gb:g} GB each were asked for beside {beside.num_workers} with "
            f"{beside.cpus:g} CPUs and {beside.gpus:g} GPUs each, but {room} fit on "
            f"{describe(machine)}; ask for fewer or smaller workers ({setting}; a "
            "fraction of a GPU beside train.gpus_per_worker below 1) or a larger machine"
        )
    return replace(kind, num_workers=asked or room)


def _room_beside(machine: Machine, beside: WorkerGroup, kind: WorkerGroup) -> int:
    """Return how many workers of a kind fit beside a group, which is packed onto the first nodes
    that hold it.
    """
    room, waiting = 0, beside.num_workers
    for place in _places(machine, kind):
        here = min(waiting, _room(place, beside))
        waiting -= here
        room += _room_left(place, here, beside, kind)
    return room


def resource_request(group: WorkerGroup) -> dict[str, float]:
    """Return what Ray is asked for one worker of a group."""
    request: dict[str, float] = {"num_cpus": group.cpus}
    if group.gpus:
        request["num_gpus"] = group.gpus
    if group.memory_gb:
        request["memory"] = group.memory_gb * _GB
    return request


def num_places(machine: Machine, group: WorkerGroup) -> int:
    """Return how many workers of a group's kind the machine holds at a time, whole nodes counted
    by their kind: workers never span two of them.
    """
    return sum(_room(place, group) for place in _places(machine, group))


def _places(machine: Machine, group: WorkerGroup) -> tuple[Node, ...]:
    """Return the nodes of the machine; where it grows, as many as may come, those first that hold
    the most workers of a group.
    """
    if not machine.types:
        return machine.nodes
    heads = [kind.node for kind in machine.types if kind.is_head]
    nodes = [kind.node for kind in machine.types if not kind.is_head for _ in range(kind.most)]
    nodes.sort(key=lambda node: -_room(node, group))
    return (*nodes[: int(min(machine.most_workers, len(nodes)))], *heads)


def _room(node: Node, group: WorkerGroup) -> int:
    fits = node.cpus / group.cpus
    if group.gpus:
        fits = min(fits, _gpu_slots(node, group.gpus))
    if group.memory_gb:
        fits = min(fits, node.memory_gb / group.memory_gb)
    return math.floor(fits + _ROUNDING)


def _gpu_slots(node: Node, gpus: float) -> float:
    """Return how many workers the node's GPUs hold; a fraction never spans two GPUs."""
    if gpus >= 1:
        return node.gpus // gpus
    return node.gpus * math.floor(1 / gpus + _ROUNDING)


def _room_left(node: Node, taken: int, beside: WorkerGroup, kind: WorkerGroup) -> int:
    """Return how many workers of a kind a node holds beside ``taken`` of another group."""
    free = replace(
        node,
        cpus=node.cpus - taken * beside.cpus,
        memory_gb=node.memory_gb - taken * beside.memory_gb,
    )
    room = max(0, _room(free, replace(kind, gpus=0.0)))
    if not kind.gpus:
        return room
    shares = 0 < beside.gpus < 1  # each of the others has a GPU of which it leaves a part
    slots = _gpu_slots(Node(0, node.gpus - taken * math.ceil(beside.gpus)), kind.gpus)
    if shares and kind.gpus < 1:
        slots += taken * math.floor((1 - beside.gpus) / kind.gpus + _ROUNDING)
    return min(room, math.floor(slots + _ROUNDING))


def describe(machine: Machine) -> str:
    """Return what a machine has, for messages: its kinds of nodes where it grows, else its nodes.

    Example:
        >>> describe(Machine((Node(0),), (NodeType("gpu", Node(96, 8), 2),)))
        'at most 2 node(s) of type gpu (96 CPUs, 8 GPUs)'
    """
    if machine.types:
        kinds = [f"{t.most} node(s) of type {t.name} ({_describe(t.node)})" for t in machine.types]
        return "at most " + ", ".join(kinds)
    nodes = [_describe(node) for node in machine.nodes]
    return f"{len(nodes)} node(s): " + "; ".join(nodes)


def _describe(node: Node) -> str:
    memory = "" if math.isinf(node.memory_gb) else f", {node.memory_gb:.1f} GB"
    return f"{node.cpus:g} CPUs, {node.gpus:g} GPUs{memory}"
