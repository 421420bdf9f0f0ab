"""Ablations, grids and searches: trials are ordinary runs, scheduled by Ray Tune."""

from eagleray.sweep.driver import SweepResult, run_sweep
from eagleray.sweep.plan import SweepPlan, plan_sweep

__all__ = ["SweepPlan", "SweepResult", "plan_sweep", "run_sweep"]
