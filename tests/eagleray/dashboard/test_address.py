"""Addresses of pages."""

from __future__ import annotations

import pytest

from eagleray.dashboard.address import link, parse_address, run_link


def test_an_address_survives_being_written_and_read():
    parts, query = ["run", "a/b", "ü ?#"], {"q": "x & y=<1>", "run": ["a", "b"]}
    path, _, search = link(parts, **query).partition("?")
    address = parse_address(path, search)
    assert address.parts == tuple(parts)
    assert (address.one("q"), address.many("run")) == (query["q"], ["a", "b"])


def test_values_can_be_changed_and_removed():
    address = parse_address("/", "?sort=step&page=3")
    assert address.with_query(page=None, q="x") == "/?sort=step&q=x"
    assert run_link("exp/main", tab="") == "/run/exp/main"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("5", 5.0), ("99", 9.0), ("-1", 0.0), ("x", 2.0), ("nan", 2.0), ("", 2.0), ("inf", 9.0)],
)
def test_numbers_stay_in_their_range(given, expected):
    assert parse_address("/", f"?n={given}").number("n", 2.0, 0.0, 9.0) == expected
