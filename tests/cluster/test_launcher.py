"""The files for ``ray up``, as Ray's own launcher reads them; no account is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCHERS = ["one_machine.yaml", "aws.yaml", "gcp.yaml"]
CLOUDS = ["aws.yaml", "gcp.yaml"]


def read(name):
    return yaml.safe_load((ROOT / "cluster" / name).read_text())


def checked(config):
    """Fill in the provider's defaults and check the rest; Ray has no public way."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_launcher_accepts_it(name):
    prepared = checked(read(name))
    assert prepared["cluster_name"].startswith("eagleray-")
    assert any("ray start --head" in line for line in prepared["head_start_ray_commands"])
    assert any("$RAY_HEAD_IP" in line for line in prepared["worker_start_ray_commands"])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_misspelt_key_is_refused(name):
    with pytest.raises(Exception, match="idle_minutes"):
        checked({**read(name), "idle_minutes": 3})


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_dashboard_is_not_open_to_the_network(name):
    (start,) = [line for line in read(name)["head_start_ray_commands"] if "--head" in line]
    assert "--dashboard-host=127.0.0.1" in start


@pytest.mark.parametrize("name", CLOUDS)
def test_the_autoscaler_can_bring_machines_with_8_gpus_and_none_when_idle(name):
    prepared = checked(read(name))
    types = prepared["available_node_types"]
    assert types["gpu"]["resources"]["GPU"] == 8
    assert types[prepared["head_node_type"]]["resources"]["CPU"] == 0
    for kind, node in types.items():
        if kind != prepared["head_node_type"]:
            assert 0 == node["min_workers"] < node["max_workers"] <= prepared["max_workers"], kind


def test_the_machines_are_what_their_resources_say():
    """Sizes as the vendors publish them: instance, CPUs, GPUs."""
    sizes = {
        "p4d.24xlarge": (96, 8),
        "c6id.8xlarge": (32, 0),
        "a2-ultragpu-8g": (96, 8),
        "n2-standard-32": (32, 0),
    }
    seen = set()
    for name in CLOUDS:
        for node in read(name)["available_node_types"].values():
            config = node["node_config"]
            size = sizes.get(config.get("InstanceType") or config["machineType"])
            if size:
                assert (node["resources"]["CPU"], node["resources"].get("GPU", 0)) == size
                seen.add(config.get("InstanceType") or config["machineType"])
    assert seen == set(sizes)


def workers(name):
    config = read(name)
    types = config["available_node_types"].items()
    return {kind: node for kind, node in types if kind != config["head_node_type"]}


@pytest.mark.parametrize("name", CLOUDS)
def test_labels_say_which_machines_may_be_taken_away_and_spot_comes_first(name):
    seen = {}
    for node in workers(name).values():
        config = node["node_config"]
        market = config.get("InstanceMarketOptions", {}).get("MarketType")
        preemptible = any(entry.get("preemptible") for entry in config.get("scheduling", ()))
        is_spot = market == "spot" or preemptible
        assert node["labels"]["ray.io/market-type"] == ("spot" if is_spot else "on-demand")
        seen.setdefault(is_spot, []).append(node)
    assert seen[True] and seen[False]
    assert all(n.get("priority", 0) < 0 for n in seen[False])


def test_every_aws_machine_has_an_image_and_workers_a_profile():
    """Ray's own image is of Ubuntu 18.04, and its own profile goes to the head alone."""
    for kind, node in read("aws.yaml")["available_node_types"].items():
        config = node["node_config"]
        assert config["ImageId"].startswith("ami-") and "Arn" in config["IamInstanceProfile"], kind
    assert "," not in read("aws.yaml")["provider"]["availability_zone"]
    for kind, node in workers("aws.yaml").items():
        if node["resources"].get("GPU"):
            config = node["node_config"]
            assert config["Placement"]["GroupName"], kind
            assert {i["InterfaceType"] for i in config["NetworkInterfaces"]} == {"efa"}, kind


def test_every_gcp_worker_has_an_account():
    for kind, node in workers("gcp.yaml").items():
        (account,) = node["node_config"]["serviceAccounts"]
        assert account["email"] and "cloud-platform" in account["scopes"][0], kind


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_ray_asks_for_the_token_that_is_copied_to_all_nodes(name):
    config = read(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for kind in ("head", "worker"):
        (start,) = [s for s in config[f"{kind}_start_ray_commands"] if "ray start" in s]
        assert "RAY_AUTH_MODE=token" in start


@pytest.mark.parametrize("name", CLOUDS)
def test_data_and_the_machines_own_disk_are_mounted_into_the_container(name):
    config = read(name)
    on_machine = " ".join(config["initialization_commands"])
    for option in config["docker"]["run_options"]:
        if option.startswith("--volume"):
            assert option.split()[1].split(":")[0] in on_machine
    (start,) = [s for s in config["worker_start_ray_commands"] if "ray start" in s]
    assert "--object-spilling-directory=/local/spill" in start
    assert "/local/spill" in on_machine
    for command in config["initialization_commands"]:
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=60)
