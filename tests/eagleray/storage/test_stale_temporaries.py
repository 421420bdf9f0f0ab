"""Temporary files of writers that were killed in mid-write."""

from __future__ import annotations

import os
import subprocess
import sys

from eagleray.storage import Store
from eagleray.storage import store as store_module


def test_what_a_killed_writer_left_is_removed(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    store = Store(str(tmp_path))
    store.write("a/kept.txt", b"1")
    running = tmp_path / f"a/{store_module._HOST_TEMPORARY}{os.getpid()}-x"
    stale = tmp_path / f"a/{store_module._HOST_TEMPORARY}{killed.pid}-x"
    elsewhere = tmp_path / f"a/.tmp-otherhost-{killed.pid}-x"
    for path in (running, stale, elsewhere):
        path.write_bytes(b"half")
    store.remove_stale_temporaries()
    assert (running.exists(), stale.exists(), elsewhere.exists()) == (True, False, True)
    assert store.read("a/kept.txt") == b"1"
