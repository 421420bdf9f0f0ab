"""Numbers of running work for whoever watches a cluster, through Ray's own exporter (Prometheus,
where each name begins with ``ray_``). ``cluster/grafana.json`` shows them.

Nothing depends on them: where Ray does not run in this process, nothing is exported.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

_log = logging.getLogger(__name__)

GAUGES = {
    "eagleray_step": "Optimizer steps done in all phases.",
    "eagleray_loss": "Loss of training, mean since the last line of metrics.",
    "eagleray_samples_per_s": "Samples trained on per second, without checkpoints and validations.",
    "eagleray_wait_fraction": "Part of the training time in which ranks waited for data.",
    "eagleray_goodput": "Part of the wall time since training began in which steps were done.",
    "eagleray_charged_restarts": "Restarts of the training workers that no lost machine explains.",
    "eagleray_lost_node_restarts": "Restarts of the training workers for lost machines.",
}
COUNTERS = {
    "eagleray_items": "Items that were committed.",
    "eagleray_rejects": "Items among them that were rejected.",
    "eagleray_open_shards": "Shards that were left for a later try: storage or memory were away.",
}
_TAG = "of"
"""Says which run or stage a number is of."""

_known: dict[str, Any] = {}


def export(name: str, value: float, of: str) -> None:
    """Set a gauge, or add to a counter.

    Args:
        name: One of ``GAUGES`` or ``COUNTERS``.
        value: What it is now, or what comes on top.
        of: Which run or stage.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return
    try:
        metric = _known.get(name) or _known.setdefault(name, _made(name))
        if name in COUNTERS:
            if value > 0:  # Ray refuses to add nothing
                metric.inc(value, {_TAG: of})
        else:
            metric.set(value, {_TAG: of})
    except Exception as error:  # a number that is not shown ends nothing
        _log.info("%s is not exported: %s", name, error)


def _made(name: str) -> Any:
    from ray.util.metrics import Counter, Gauge

    if name in COUNTERS:
        return Counter(name, COUNTERS[name], tag_keys=(_TAG,))
    return Gauge(name, GAUGES[name], tag_keys=(_TAG,))
