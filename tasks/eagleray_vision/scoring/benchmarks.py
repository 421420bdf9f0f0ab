"""The benchmark of a data set and its fusion ceiling."""

from __future__ import annotations

from collections.abc import Mapping

from eagleray.task import Benchmark, PublishedResult
from eagleray_vision.datasets.settings import DatasetSettings
from eagleray_vision.scoring.rule import ROW_SCHEMA

CEILING_SUFFIX = "_fusion_ceiling"
"""Names the benchmark that pushes the truth through the fusion."""


def panoptic_benchmarks(
    data: DatasetSettings,
    protocol: str,
    schema: Mapping[str, str],
    published: Mapping[str, tuple[PublishedResult, ...]],
) -> tuple[Benchmark, Benchmark]:
    """Return the benchmark of a data set's validation split and its fusion ceiling.

    Args:
        data: The data set.
        protocol: How it is scored.
        schema: Columns of a scored image's row.
        published: The paper's numbers by the format of the data set; they stand beside data in the
            published layout only, not beside samples of it.

    Returns:
        Two benchmarks; the first one is the default.
    """
    name = f"{data.format}_{data.val_split}"
    is_published_set = not (data.images or data.labels or data.annotations or data.reduced_labels)
    is_published_set = is_published_set and data.vistas_version == "1.2"
    papers = published.get(data.format, ()) if is_published_set else ()
    return (
        Benchmark(name, "val", "pq", protocol, schema, published=papers),
        Benchmark(
            name + CEILING_SUFFIX,
            "val",
            "pq",
            "The truth in place of the network's output (semantic labels, boxes, 28 x 28 masks), "
            "fused and scored like a prediction: what a perfect network would reach. " + protocol,
            ROW_SCHEMA,
        ),
    )
