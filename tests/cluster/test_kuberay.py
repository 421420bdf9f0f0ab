"""The Kubernetes manifests: KubeRay's names of fields, and what Ray's autoscaler makes of them."""

from __future__ import annotations

import copy
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from eagleray.cli.main import FALLEN_STATUS, REJECTS_STATUS
from eagleray.cli.verbs import VERBS
from eagleray.scheduling.jobs import GRACE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "cluster" / "kuberay"

TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def closed(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def listed(item):
    return {"type": "array", "items": item, "minItems": 1}


QUANTITIES = {
    "type": "object",
    "propertyNames": {"enum": ["cpu", "memory", "nvidia.com/gpu"]},
    "additionalProperties": {
        "type": ["string", "integer"],
        "pattern": r"^[0-9]+(\.[0-9]+)?(Gi|Mi)?$",
    },
}
CONTAINER = closed(
    ["name", "image", "resources"],
    name=TEXT,
    image=TEXT,
    ports=listed(closed(["containerPort", "name"], containerPort=COUNT, name=TEXT)),
    env=listed(closed(["name", "value"], name=TEXT, value=TEXT)),
    resources=closed(["limits", "requests"], limits=QUANTITIES, requests=QUANTITIES),
    volumeMounts=listed(
        closed(["name", "mountPath"], name=TEXT, mountPath=TEXT, readOnly={"type": "boolean"})
    ),
)
VOLUME = closed(
    ["name"],
    name=TEXT,
    emptyDir=closed(medium={"enum": ["Memory"]}, sizeLimit=TEXT),
    configMap=closed(["name"], name=TEXT),
    persistentVolumeClaim=closed(["claimName"], claimName=TEXT, readOnly={"type": "boolean"}),
)
POD = closed(
    ["spec"],
    spec=closed(
        ["containers", "serviceAccountName", "terminationGracePeriodSeconds"],
        containers=listed(CONTAINER),
        serviceAccountName=TEXT,
        terminationGracePeriodSeconds=COUNT,
        volumes=listed(VOLUME),
        tolerations=listed(
            closed(
                ["key"],
                key=TEXT,
                operator={"enum": ["Exists", "Equal"]},
                effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
            )
        ),
    ),
)
CLUSTER = closed(
    ["headGroupSpec", "rayVersion"],
    rayVersion=TEXT,
    authOptions=closed(["mode"], mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=closed(
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    ),
    headGroupSpec=closed(
        ["template"],
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        rayStartParams=TEXTS,
        template=POD,
    ),
    workerGroupSpecs=listed(
        closed(
            ["groupName", "minReplicas", "maxReplicas", "template"],
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        )
    ),
)
JOB = closed(
    ["entrypoint", "rayClusterSpec"],
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
    backoffLimit=COUNT,
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=COUNT,
    runtimeEnvYAML=TEXT,
    rayClusterSpec=CLUSTER,
)
"""The fields that the manifests use, as KubeRay's own definitions (ray.io/v1) name them."""


def manifest(kind):
    return yaml.safe_load((KUBERAY / f"{kind.lower()}.yaml").read_text())


def whole(kind):
    return closed(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=closed(["name"], name={"type": "string", "pattern": r"^[a-z0-9-]{1,50}$"}),
        spec={"RayCluster": CLUSTER, "RayJob": JOB}[kind],
    )


def cluster_spec(kind):
    spec = manifest(kind)["spec"]
    return spec.get("rayClusterSpec", spec)


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_its_fields_are_those_of_kuberay(kind):
    jsonschema.Draft202012Validator(whole(kind)).validate(manifest(kind))


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_a_misspelt_field_would_be_found_wherever_it_stands(kind):
    check = jsonschema.Draft202012Validator(whole(kind))
    values = manifest(kind)
    for place in mappings(values, ()):
        if place and place[-1] == "rayStartParams":
            continue  # any option of ray start
        wrong = copy.deepcopy(values)
        inner = wrong
        for step in place:
            inner = inner[step]
        inner["misspelt"] = 1
        assert not check.is_valid(wrong), place


def mappings(value, place):
    if isinstance(value, dict):
        yield place
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from mappings(inner, (*place, key))


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_the_autoscaler_finds_8_gpus_per_worker_and_none_on_the_head(kind):
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )
    from ray.autoscaler._private.util import validate_config

    config = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "x", "namespace": "y"}, "spec": cluster_spec(kind)}
    )
    validate_config(config)
    types = config["available_node_types"]
    assert types["gpu"]["resources"]["GPU"] == 8
    assert "GPU" not in types["cpu"]["resources"] and types["cpu"]["resources"]["CPU"] == 30
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    assert {kind: types[kind]["min_workers"] for kind in ("gpu", "cpu")} == {"gpu": 0, "cpu": 0}


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_every_mount_has_its_volume_and_requests_are_limits(kind):
    spec = cluster_spec(kind)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert container["resources"]["limits"] == container["resources"]["requests"]


def test_all_pods_have_one_image_and_the_pinned_ray():
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    (ray,) = [line.partition("==")[2] for line in pins if line.startswith("ray==")]
    for kind in ("RayCluster", "RayJob"):
        spec = cluster_spec(kind)
        assert spec["rayVersion"] == ray
        groups = (spec["headGroupSpec"], *spec["workerGroupSpecs"])
        images = {c["image"] for g in groups for c in g["template"]["spec"]["containers"]}
        assert len(images) == 1


def test_the_job_runs_a_verb_on_an_experiment_that_is_mounted():
    spec = manifest("RayJob")["spec"]
    shell, option, script = shlex.split(spec["entrypoint"])
    assert (shell, option) == ("bash", "-c")
    command, verb, experiment, *flags = shlex.split(script.partition(";")[0])
    assert command == "eagleray" and verb in VERBS and flags[0] == "--storage"
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert str(Path(experiment).parent) in {
        mount["mountPath"] for mount in head["containers"][0]["volumeMounts"]
    }
    variables = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert variables["EAGLERAY_DATA"] == "/data"
    assert Path(variables["EAGLERAY_CLUSTER"]).parent == Path(experiment).parent
    grace_s = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert int(variables[GRACE_VARIABLE]) <= grace_s["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 0), (1, 1), (2, 2), (REJECTS_STATUS, 0), (FALLEN_STATUS, 0)]
)
def test_finished_work_is_not_started_again(tmp_path, status, expected):
    eagleray = tmp_path / "eagleray"
    eagleray.write_text(f"#!/bin/sh\nexit {status}\n")
    eagleray.chmod(0o755)
    entrypoint = manifest("RayJob")["spec"]["entrypoint"]
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(entrypoint, shell=True, env={"PATH": path}, check=False, timeout=60)
    assert done.returncode == expected


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_tokens_are_on_and_pods_have_the_account_that_is_made(kind):
    spec = cluster_spec(kind)
    assert spec["authOptions"] == {"mode": "token"}
    documents = list(yaml.safe_load_all((KUBERAY / "access.yaml").read_text()))
    assert [d["kind"] for d in documents] == ["ServiceAccount", "Role", "RoleBinding"]
    (account,) = {d["metadata"]["name"] for d in documents}
    groups = (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    assert {g["template"]["spec"]["serviceAccountName"] for g in groups} == {account}


def test_a_standing_clusters_state_lies_on_a_claim():
    pod = cluster_spec("RayCluster")["headGroupSpec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert variables["RAY_gcs_storage"] == "rocksdb"
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "state"]
    assert variables["RAY_gcs_storage_path"].startswith(mount["mountPath"])
    assert not mount.get("readOnly")
    (volume,) = [v for v in pod["volumes"] if v["name"] == "state"]
    assert "persistentVolumeClaim" in volume


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_workers_spill_to_a_disk_of_their_own(kind):
    for group in cluster_spec(kind)["workerGroupSpecs"]:
        place = group["rayStartParams"]["object-spilling-directory"]
        pod = group["template"]["spec"]
        (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == place]
        (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
        assert "medium" not in volume["emptyDir"], "spilling to memory would spill nothing"
