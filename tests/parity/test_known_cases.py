"""A golden case that no test knows fails the run."""

import pytest
from tests.parity.cases import HERE, unknown_files

SYSTEMS = sorted(
    folder.name
    for folder in (HERE / "data").iterdir()
    if list(HERE.glob(f"test_{folder.name}*.py"))
)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_case_has_a_test(system):
    assert [f.name for f in unknown_files(system)] == []
