"""The small store with a dashboard over it."""

from __future__ import annotations

import pytest
from tests.eagleray.dashboard.visitor import Visitor
from tests.small_store import storage, written_store

__all__ = ["storage", "written_store"]


@pytest.fixture
def visitor(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("eagleray.browse.index._REFRESH_LOCAL_S", -1.0)
    monkeypatch.setattr("eagleray.browse.sweep_index._REFRESH_LOCAL_S", -1.0)
    return Visitor(storage, tmp_path / "cache")
