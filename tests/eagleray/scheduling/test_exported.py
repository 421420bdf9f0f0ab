"""Numbers for whoever watches a cluster: what is exported is what Grafana asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import ray

from eagleray.scheduling import exported

BOARD = Path(__file__).resolve().parents[3] / "cluster" / "grafana.json"


class Metric:
    def __init__(self, name, description, tag_keys):
        assert description and tag_keys == ("of",)
        self.values = []

    def set(self, value, tags):
        self.values.append(("set", value, tags))

    def inc(self, value, tags):
        assert value > 0
        self.values.append(("inc", value, tags))


@pytest.fixture
def known(monkeypatch):
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(f"ray.util.metrics.{kind}", Metric)
    known = {}
    monkeypatch.setattr(exported, "_known", known)
    return known


def test_gauges_are_set_and_counters_grow(known, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    for value in (1.0, 2.0):
        exported.export("eagleray_loss", value, "main-1")
        exported.export("eagleray_rejects", value - 1, "squares")
    assert known["eagleray_loss"].values == [
        ("set", 1.0, {"of": "main-1"}),
        ("set", 2.0, {"of": "main-1"}),
    ]
    assert known["eagleray_rejects"].values == [("inc", 1.0, {"of": "squares"})]


def test_without_ray_and_where_it_fails_nothing_happens(known, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    exported.export("eagleray_loss", 1.0, "main-1")
    assert not known
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(Metric, "set", lambda *_: 1 / 0)
    exported.export("eagleray_loss", 1.0, "main-1")


def test_the_board_asks_for_what_is_exported():
    board = json.loads(BOARD.read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"ray_(eagleray_\w+)", target["expr"])
    }
    offered = set(exported.GAUGES) | {f"{name}_total" for name in exported.COUNTERS}
    assert asked == offered
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
