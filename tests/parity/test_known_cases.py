"""A golden case that no test knows fails the run."""

import pytest
from tests.parity.cases import HERE, known_cases, unknown_files

SYSTEMS = sorted(
    folder.name
    for folder in (HERE / "data").iterdir()
    if list(HERE.glob(f"test_{folder.name}*.py"))
)


PENDING = {"pop3d": ["maskclip_plus", "two_step_sampling"]}
"""Cases of what is not built yet."""


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_case_has_a_test(system):
    pending = tuple(PENDING.get(system, ()))
    unknown = [f.name for f in unknown_files(system)]
    assert [name for name in unknown if not name.startswith(pending or ("-",))] == []


@pytest.mark.parametrize("system", PENDING)
def test_what_has_a_test_is_not_pending(system):
    known = known_cases(system)
    assert not [name for name in PENDING[system] if any(name.startswith(k) for k in known)]
