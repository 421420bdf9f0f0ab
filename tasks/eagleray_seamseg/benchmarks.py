"""The benchmark of an experiment's data set, its fusion ceiling, and the rule of both."""

from __future__ import annotations

from eagleray.task import Benchmark
from eagleray_seamseg.original_quality import seamless_statistics
from eagleray_seamseg.published import CITYSCAPES_VAL, VISTAS_VAL
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_vision.scoring.benchmarks import panoptic_benchmarks
from eagleray_vision.scoring.rule import ScoringRule


def seamless_benchmarks(settings: SeamlessSettings) -> tuple[Benchmark, ...]:
    """Return the benchmark of the settings' data set and its fusion ceiling."""
    return panoptic_benchmarks(
        settings.data,
        _FAITHFUL_PROTOCOL if settings.faithful else _OFFICIAL_PROTOCOL,
        scoring_rule(settings).schema(),
        {"vistas": VISTAS_VAL, "cityscapes": CITYSCAPES_VAL},
    )


_FAITHFUL_PROTOCOL = (
    "Percent. As the original code: truth resized to the network input; crowd segments of any "
    "class are void; means over all classes, an absent one counting 0."
)
_OFFICIAL_PROTOCOL = (
    "Percent. Official COCO panoptic rule at the size of the labels; means over the classes "
    "that occur."
)


def scoring_rule(settings: SeamlessSettings) -> ScoringRule:
    """Return the original's rule where the settings are faithful, else the official one."""
    if not settings.faithful:
        return ScoringRule(settings.evaluation)
    return ScoringRule(
        settings.evaluation,
        at_network_size=True,
        compare=seamless_statistics,
        absent_counts=True,
        polygons=True,
        coco_defects=True,
    )
