"""Which trace is shown first, and when starting again is pointless."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from eagleray.prepare import TransientError
from eagleray.storage import Store
from eagleray.task import EaglerayError, InputError
from eagleray.train.ray_driver import (
    _leave_sign,
    _reason,
    check_sign,
    log_to_store,
    note_start,
    read_failures,
    record_failure,
    root_cause,
    should_give_up,
)


@pytest.fixture
def run(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_cause_comes_before_its_consequences(run: Store) -> None:
    record_failure(run, 1, 0, RuntimeError("Connection closed by peer [127.0.0.1]:3"))
    record_failure(run, 1, 1, ZeroDivisionError("the cause"))
    cause = root_cause(read_failures(run))
    assert cause is not None
    assert (cause.rank, cause.message) == (1, "the cause")
    assert "ZeroDivisionError: the cause" in cause.trace


def test_newest_group_counts(run: Store) -> None:
    record_failure(run, 1, 0, ValueError("old"))
    record_failure(run, 2, 0, ValueError("new"))
    cause = root_cause(read_failures(run))
    assert cause is not None and cause.message == "new"


def test_same_exception_twice_in_a_row_ends_it(run: Store) -> None:
    record_failure(run, 1, 0, ValueError("bug"))
    assert not should_give_up(read_failures(run))
    record_failure(run, 2, 1, ValueError("bug"))
    assert should_give_up(read_failures(run))


def test_other_exceptions_and_deaths_in_between_do_not(run: Store) -> None:
    record_failure(run, 1, 0, ValueError("bug"))
    record_failure(run, 3, 0, ValueError("bug"))
    assert not should_give_up(read_failures(run))
    record_failure(run, 4, 0, ValueError("another"))
    assert not should_give_up(read_failures(run))


def test_lost_connection_is_worth_another_try_for_ever(run: Store) -> None:
    for group in (1, 2, 3):
        record_failure(run, group, 0, RuntimeError("gloo: Connection closed by peer"))
    assert not should_give_up(read_failures(run))


def test_bad_input_ends_it_at_once(run: Store) -> None:
    record_failure(run, 1, 0, InputError("no samples"))
    assert should_give_up(read_failures(run))


def test_no_failure_has_no_cause(run: Store) -> None:
    assert root_cause(read_failures(run)) is None
    assert not should_give_up(read_failures(run))


def test_what_ended_the_last_group_is_reported_and_not_an_earlier_failure(run: Store) -> None:
    record_failure(run, 1, 0, RuntimeError("gloo: Connection reset by peer"))
    record_failure(run, 2, 1, ValueError("an earlier one"))
    text = _reason(run, read_failures(run), 3, RuntimeError("worker died: memory"))
    assert "worker died: memory" in text and "out of memory" in text
    assert "Connection reset" not in text and "an earlier one" not in text


def test_consequence_of_a_death_is_told_as_one(run: Store) -> None:
    record_failure(run, 1, 1, RuntimeError("gloo: Connection closed by peer"))
    text = _reason(run, read_failures(run), 1, RuntimeError("rank 0 was killed"))
    assert "rank 0 was killed" in text and "rank 1 noticed it by RuntimeError" in text
    assert "failed first" not in text


def test_own_exception_of_the_last_group_is_the_cause(run: Store) -> None:
    record_failure(run, 1, 1, ValueError("bug"))
    assert "failed first" in _reason(run, read_failures(run), 1, RuntimeError("ended"))
    assert "failed first" in _reason(run, read_failures(run), 2, None)


def test_rays_own_words_go_to_a_file_unless_asked_for(run: Store, monkeypatch) -> None:
    error = RuntimeError("worker died\n" + "  at ray.foo()\n" * 40)
    monkeypatch.delenv("EAGLERAY_VERBOSE", raising=False)
    text = _reason(run, [], 1, error)
    assert len(text.splitlines()) == 1
    assert "worker died" in text and "log/ray-errors.txt" in text
    assert run.read("log/ray-errors.txt").decode() == str(error)
    monkeypatch.setenv("EAGLERAY_VERBOSE", "1")
    assert "at ray.foo()" in _reason(run, [], 1, error)


def test_restarts_for_lost_machines_are_not_charged(run: Store) -> None:
    # two machines are lost, and the third restart is one of a process alone
    assert [note_start(run, lost) for lost in (5, 6, 7, 7, 7)] == [
        (1, 0), (2, 0), (3, 0), (4, 1), (5, 2),
    ]  # fmt: skip


def test_more_restarts_than_allowed_are_named(run: Store) -> None:
    assert "more often than train.max_failures allows" in _reason(run, [], 5, None)


def test_a_machine_that_does_not_see_the_runs_folder_is_named(run: Store, tmp_path: Path) -> None:
    sign = _leave_sign(run)
    check_sign(run, sign)
    for other in (Store(str(tmp_path / "elsewhere")), run):
        with pytest.raises(EaglerayError, match=r"does not see the run's folder .* all machines"):
            check_sign(other, sign if other is not run else "of another driver")


def test_storage_that_did_not_answer_is_worth_another_try(run: Store) -> None:
    for group in (1, 3):
        record_failure(run, group, 0, TransientError("no answer"))
    assert not should_give_up(read_failures(run))
    record_failure(run, 4, 0, InputError("bad"))
    assert should_give_up(read_failures(run))


def test_warnings_of_every_rank_reach_any_storage(run: Store, tmp_path: Path) -> None:
    for store, name in (
        (run, "log/3.log"),
        (Store(f"memory://{tmp_path.name}"), "log/3.0002.log"),
    ):
        log = log_to_store(store, 3, 2)
        logging.getLogger("eagleray.train.test").warning("seen %s", name)
        logging.getLogger("eagleray").removeHandler(log)
        log.close()
        assert f"eagleray.train.test WARNING seen {name}" in store.read(name).decode()
