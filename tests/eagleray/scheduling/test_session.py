"""Ray is started once, reused, and not ended by who did not start it."""

from __future__ import annotations

from eagleray.scheduling import (
    LazySession,
    cluster_machine,
    local_machine,
    present_machine,
    ray_session,
)


def test_a_running_ray_is_reused_and_left_running(ray_cluster):
    before = ray_cluster.get_runtime_context().gcs_address
    with ray_session(num_cpus=1), LazySession() as session:
        session.start()
        session.start()
        assert ray_cluster.get_runtime_context().gcs_address == before
        assert sum(node.cpus for node in cluster_machine().nodes) == 4
    assert ray_cluster.is_initialized()


def test_a_cluster_that_is_named_is_what_plans_count_on(ray_cluster, monkeypatch):
    assert present_machine() == local_machine()
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.get_runtime_context().gcs_address)
    assert sum(node.cpus for node in present_machine().nodes) == 4
    assert ray_cluster.is_initialized()
