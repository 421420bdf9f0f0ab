"""Metrics as pure functions: statistics of one unit, and results over all of them.

Statistics add up exactly whatever the order, so that an evaluation gives the same numbers on any
number of workers.
"""
