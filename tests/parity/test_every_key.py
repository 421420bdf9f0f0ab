"""The ledger of read keys notices what nobody read."""

import numpy as np
from tests.parity.every_key import EveryKey, unread_keys


def test_keys_that_nobody_reads_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=1, y=2, z=3)
    case = EveryKey(tmp_path / "a.npz", "a module")
    assert case["x"] == 1 and "z" in case and len(case) == 3
    assert unread_keys("a module") == {"a.npz": {"y", "z"}}
    assert dict(case.items())["z"] == 3
    assert unread_keys("a module") == {} == unread_keys("another module")
