"""The lease that keeps two drivers off one run."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time

import pytest

from eagleray.runs import lease as lease_module
from eagleray.runs.lease import Lease, RunIsBusyError, is_held
from eagleray.storage import Store


def hold(uri, together, leave, outcomes):
    run = Store(uri)
    together.wait(60)
    try:
        with Lease(run) as lease:
            outcomes.put(lease.attempt)
            leave.wait(60)
    except RunIsBusyError:
        outcomes.put(None)


def test_of_drivers_that_begin_at_the_same_instant_one_holds_the_run(tmp_path):
    context = multiprocessing.get_context("fork")
    for number in range(12):
        together, leave, outcomes = context.Barrier(3), context.Event(), context.Queue()
        run = str(tmp_path / f"run-{number}")
        drivers = [
            context.Process(target=hold, args=(run, together, leave, outcomes)) for _ in range(3)
        ]
        for driver in drivers:
            driver.start()
        attempts = [outcomes.get(timeout=60) for _ in drivers]
        leave.set()
        for driver in drivers:
            driver.join(60)
        assert [a for a in attempts if a is not None] == [1]


def write_lease(run, attempt, **values):
    state = {"attempt": attempt, "pid": os.getpid(), "host": "elsewhere", "released": False}
    run.write(f"lease/{attempt:06d}.json", json.dumps({**state, **values}).encode())


def test_a_holder_whose_clock_is_a_year_ahead_locks_no_run_once_it_is_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_STALE_S", 0.3)
    monkeypatch.setattr(lease_module, "_BEAT_S", 0.05)
    run = Store(str(tmp_path))
    write_lease(run, 3, time_s=time.time() + 365 * 86400)
    with Lease(run) as lease:
        assert lease.attempt == 4


def test_a_holder_whose_clock_is_ahead_is_respected_while_it_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "_STALE_S", 5.0)
    monkeypatch.setattr(lease_module, "_BEAT_S", 0.05)
    run = Store(str(tmp_path))
    ahead = time.time() + 1000
    write_lease(run, 1, time_s=ahead)
    beats = iter(range(1, 1000))
    monkeypatch.setattr(
        lease_module.time, "sleep", lambda _: write_lease(run, 1, time_s=ahead + next(beats))
    )
    with pytest.raises(RunIsBusyError, match="elsewhere"), Lease(run):
        pass


class UnknownToPythonError(Exception):
    """What clients of object stores raise: no OSError."""


@pytest.mark.parametrize("kind", [OSError, UnknownToPythonError])
def test_a_lost_beat_does_not_end_the_next_ones(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(lease_module, "_BEAT_S", 0.02)
    run = Store(str(tmp_path))
    lease, lost = Lease(run), []
    with lease:
        write = run.write

        def unreliable(path, content):
            if len(lost) < 2:
                lost.append(path)
                raise kind("the network is gone")
            write(path, content)

        monkeypatch.setattr(run, "write", unreliable)
        begun = json.loads(run.read("lease/000001.json"))["time_s"]
        until = time.monotonic() + 30
        while json.loads(run.read("lease/000001.json"))["time_s"] == begun:
            assert time.monotonic() < until, "no beat after two lost ones"
            time.sleep(0.02)
    assert len(lost) == 2


def test_strange_files_beside_leases_are_passed_over(tmp_path, caplog):
    caplog.set_level("WARNING", logger="eagleray")
    run = Store(str(tmp_path))
    with Lease(run):
        pass
    run.write("lease/000001.json.bak", b"copied")
    run.write("lease/zzz.json", b"{}")
    with Lease(run) as lease:
        assert lease.attempt == 2
    assert "zzz.json is no lease" in caplog.text


def test_a_damaged_lease_is_nobodys(tmp_path):
    run = Store(str(tmp_path))
    run.write("lease/000004.json", b"{")
    assert not is_held(run)
    with Lease(run) as lease:
        assert lease.attempt == 5


def test_this_process_holds_what_it_holds(tmp_path):
    run = Store(str(tmp_path))
    with Lease(run):
        assert is_held(run)
        assert json.loads(run.read("lease/000001.json"))["host"] == socket.gethostname()
    assert not is_held(run)
