"""Which kinds of nodes a cluster may grow, from the file that it is made from.

Ray does not tell a job what its autoscaler can add, so the file travels with the job: the YAML of
``ray up``, or a RayCluster or RayJob of KubeRay.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eagleray.scheduling.resources import Node, NodeType
from eagleray.task import SettingsError

CLUSTER_VARIABLE = "EAGLERAY_CLUSTER"
"""Environment variable that holds a cluster's node types: as ``NodeTypes.encode`` gives them, or
the path of the cluster's file."""

_GPU_KEYS = ("nvidia.com/gpu", "amd.com/gpu")
_QUANTITY = re.compile(r"([0-9.]+)(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
_UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodeTypes:
    """What a cluster's file says.

    Args:
        types: The kinds of nodes, the head's among them.
        most_workers: Nodes of all kinds together, without the head.
    """

    types: tuple[NodeType, ...]
    most_workers: float = math.inf

    def encode(self) -> str:
        """Return it as one line, for an environment variable."""
        types = [
            {
                "name": t.name,
                "cpus": t.node.cpus,
                "gpus": t.node.gpus,
                "memory_gb": _or_none(t.node.memory_gb),
                "most": t.most,
                "is_head": t.is_head,
            }
            for t in self.types
        ]
        return json.dumps({"types": types, "most_workers": _or_none(self.most_workers)})

    @classmethod
    def decode(cls, text: str) -> NodeTypes:
        """Return what ``encode`` wrote."""
        fields = json.loads(text)
        types = tuple(
            NodeType(
                t["name"],
                Node(t["cpus"], t["gpus"], _or_inf(t["memory_gb"])),
                t["most"],
                t["is_head"],
            )
            for t in fields["types"]
        )
        return cls(types, _or_inf(fields["most_workers"]))


def read_cluster_file(path: Path) -> NodeTypes:
    """Read the node types of a ``ray up`` YAML, or of a RayCluster or RayJob of KubeRay.

    Raises:
        SettingsError: It cannot be read, or names no node types.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"the cluster's file {path} cannot be read: {error}") from error
    if not isinstance(config, Mapping):
        raise SettingsError(f"the cluster's file {path} holds no settings")
    try:
        if config.get("kind") in ("RayCluster", "RayJob"):
            return _of_kuberay(config)
        if "available_node_types" in config:
            return _of_launcher(config)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SettingsError(
            f"the cluster's file {path} does not say what its nodes have "
            f"({type(error).__name__}: {error})"
        ) from error
    raise SettingsError(
        f"the cluster's file {path} names no node types: give a YAML of `ray up` with "
        "available_node_types, or a RayCluster or RayJob of KubeRay. A cluster that does not grow "
        "needs no file"
    )


def _of_launcher(config: Mapping[str, Any]) -> NodeTypes:
    head = config["head_node_type"]
    types = []
    for name, kind in config["available_node_types"].items():
        has = kind["resources"]
        memory_gb = float(has["memory"]) / 1e9 if "memory" in has else math.inf
        node = Node(float(has.get("CPU", 0)), float(has.get("GPU", 0)), memory_gb)
        most = 1 if name == head else int(kind.get("max_workers", config.get("max_workers", 0)))
        types.append(NodeType(name, node, most, name == head))
    return NodeTypes(tuple(types), float(config.get("max_workers", math.inf)))


def _of_kuberay(config: Mapping[str, Any]) -> NodeTypes:
    spec = config["spec"]
    cluster = spec["rayClusterSpec"] if config["kind"] == "RayJob" else spec
    types = [NodeType("head", _pod(cluster["headGroupSpec"]), 1, is_head=True)]
    for group in cluster.get("workerGroupSpecs", ()):
        most = int(group["maxReplicas"]) * int(group.get("numOfHosts", 1))
        types.append(NodeType(group["groupName"], _pod(group), most))
    return NodeTypes(tuple(types))


def _pod(group: Mapping[str, Any]) -> Node:
    """Return what Ray offers in a group's pods: the first container's limits, unless its start
    parameters say otherwise.
    """
    start = group.get("rayStartParams") or {}
    has = group["template"]["spec"]["containers"][0].get("resources", {})
    has = {**has.get("requests", {}), **has.get("limits", {})}
    cpus = start.get("num-cpus", math.ceil(_quantity(has.get("cpu", 0))))
    gpus = start.get("num-gpus", sum(_quantity(has.get(key, 0)) for key in _GPU_KEYS))
    memory = _quantity(start.get("memory", has.get("memory", math.inf)))
    return Node(float(cpus), float(gpus), memory / 1e9)


def _quantity(value: object) -> float:
    """Return a quantity of Kubernetes as a number.

    Example:
        >>> _quantity("500m"), _quantity("2Gi"), _quantity(8)
        (0.5, 2147483648.0, 8.0)
    """
    if isinstance(value, int | float):
        return float(value)
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is no quantity of Kubernetes")
    return float(match[1]) * _UNITS[match[2] or ""]


def _or_none(value: float) -> float | None:
    return None if math.isinf(value) else value


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value
