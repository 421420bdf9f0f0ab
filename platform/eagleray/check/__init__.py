"""The contract, tried out: a task's hooks are called on a few items as the engine would call them,
and what they break is named.
"""

from eagleray.check.driver import CheckOptions, check
from eagleray.check.findings import CheckReport, Finding

__all__ = ["CheckOptions", "CheckReport", "Finding", "check"]
