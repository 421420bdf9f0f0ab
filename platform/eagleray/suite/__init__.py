"""Suites: several experiments of several tasks, run one after the other into one page."""
