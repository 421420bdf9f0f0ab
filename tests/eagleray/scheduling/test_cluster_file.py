"""Node types from the file that a cluster is made from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from eagleray.scheduling import Node, NodeTypes, read_cluster_file
from eagleray.task import SettingsError

CLUSTER = Path(__file__).resolve().parents[3] / "cluster"


def sizes(name):
    known = read_cluster_file(CLUSTER / name)
    return {t.name: (t.node.cpus, t.node.gpus, t.most) for t in known.types}, known


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_the_launchers_files(name):
    types, known = sizes(name)
    assert types["head"] == (0, 0, 1)
    assert any(gpus == 8 and most >= 1 for _, gpus, most in types.values())
    assert known.most_workers >= 1
    assert NodeTypes.decode(known.encode()) == known


@pytest.mark.parametrize("name", ["kuberay/raycluster.yaml", "kuberay/rayjob.yaml"])
def test_the_manifests(name):
    types, known = sizes(name)
    assert types["head"] == (0, 0, 1) and types["gpu"][:2] == (90, 8)
    gpu = next(t for t in known.types if t.name == "gpu")
    assert gpu.node.memory_gb == 900 * 2**30 / 1e9
    assert math.isinf(known.most_workers) and NodeTypes.decode(known.encode()) == known


def test_quantities_and_hosts_of_a_group(tmp_path):
    path = tmp_path / "cluster.yaml"
    limits = "limits: {cpu: 1500m, memory: 4G, nvidia.com/gpu: '2'}"
    pod = f"template: {{spec: {{containers: [{{resources: {{{limits}}}}}]}}}}"
    path.write_text(
        "kind: RayCluster\nspec:\n"
        f"  headGroupSpec: {{rayStartParams: {{num-cpus: '0', num-gpus: '0'}}, {pod}}}\n"
        f"  workerGroupSpecs: [{{groupName: slice, maxReplicas: 3, numOfHosts: 4, {pod}}}]\n"
    )
    head, group = read_cluster_file(path).types
    assert (head.node, group.node, group.most) == (Node(0, 0, 4.0), Node(2, 2, 4.0), 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "holds no settings"),
        ("a: [", "cannot be read"),
        ("provider: {type: local}", "names no node types"),
        ("head_node_type: a\navailable_node_types: {a: {}}", "does not say.*resources"),
        ("kind: RayJob\nspec: {}", "does not say.*rayClusterSpec"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_cluster_file(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_cluster_file(tmp_path / "none.yaml")
