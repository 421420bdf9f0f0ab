"""The benchmark of an experiment's data set, its fusion ceiling, and the rule of both."""

from __future__ import annotations

from eagleray.task import Benchmark
from eagleray_seamseg.original_quality import seamless_statistics
from eagleray_seamseg.published import CITYSCAPES_VAL, VISTAS_VAL
from eagleray_seamseg.settings import SeamlessSettings
from eagleray_vision.scoring.rule import ROW_SCHEMA, ScoringRule

CEILING_SUFFIX = "_fusion_ceiling"
"""Names the benchmark that pushes the truth through the fusion."""


def seamless_benchmarks(settings: SeamlessSettings) -> tuple[Benchmark, ...]:
    """Return the benchmark of the settings' data set and its fusion ceiling.

    Args:
        settings: Settings of the experiment.

    Returns:
        Two benchmarks; the first one is the default. The papers' numbers stand beside data in the
        published layout only, not beside samples of it.
    """
    name = f"{settings.data.format}_{settings.data.val_split}"
    schema = scoring_rule(settings).schema()
    data = settings.data
    is_published_set = not (data.images or data.labels or data.annotations or data.reduced_labels)
    is_published_set = is_published_set and data.vistas_version == "1.2"
    papers = {"vistas": VISTAS_VAL, "cityscapes": CITYSCAPES_VAL}
    published = papers.get(data.format, ()) if is_published_set else ()
    protocol = _FAITHFUL_PROTOCOL if settings.faithful else _OFFICIAL_PROTOCOL
    return (
        Benchmark(name, "val", "pq", protocol, schema, published=published),
        Benchmark(
            name + CEILING_SUFFIX,
            "val",
            "pq",
            "The truth in place of the network's output (semantic labels, boxes, 28 x 28 masks), "
            "fused and scored like a prediction: what a perfect network would reach. " + protocol,
            ROW_SCHEMA,
        ),
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
