"""The files for ``ray up``, as Ray's own launcher reads them; no account is needed."""

from __future__ import annotations

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
        "c6i.8xlarge": (32, 0),
        "a2-highgpu-8g": (96, 8),
        "n2-standard-32": (32, 0),
    }
    seen = 0
    for name in CLOUDS:
        for node in read(name)["available_node_types"].values():
            config = node["node_config"]
            size = sizes.get(config.get("InstanceType") or config["machineType"])
            if size:
                assert (node["resources"]["CPU"], node["resources"].get("GPU", 0)) == size
                seen += 1
    assert seen == len(sizes)


def test_aws_workers_are_spot_machines():
    types = read("aws.yaml")["available_node_types"]
    for kind in ("gpu", "cpu"):
        assert types[kind]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
