"""Typed errors of the metrics."""

from __future__ import annotations

from eagleray.task import InputError


class MetricError(InputError):
    """Base of everything that makes a metric undefined."""


class NoClassError(MetricError):
    """No class occurs, so that there is nothing to average."""


class LabelRangeError(MetricError):
    """A label lies outside the classes that are evaluated."""
