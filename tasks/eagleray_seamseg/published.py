"""Published results of Seamless Scene Segmentation, in percent."""

from __future__ import annotations

from eagleray.task import PublishedResult

_README = "README of the published code"
_AGGREGATOR = "benchmark aggregator's page of the paper"
_FOLLOW_UP = "as quoted in follow-up papers"

VISTAS_VAL: tuple[PublishedResult, ...] = (
    PublishedResult("pq", 37.99, _README, model="ResNet-50, released weights"),
    PublishedResult("pq", 37.7, _AGGREGATOR, model="ResNet-50"),
    PublishedResult("miou", 50.4, _AGGREGATOR, model="ResNet-50"),
    PublishedResult("mask_ap", 16.4, _AGGREGATOR, model="ResNet-50"),
    PublishedResult("pq_things", 33.8, _FOLLOW_UP, model="ResNet-50", recalled=True),
    PublishedResult("pq_stuff", 42.9, _FOLLOW_UP, model="ResNet-50", recalled=True),
)
"""Mapillary Vistas, validation."""

CITYSCAPES_VAL: tuple[PublishedResult, ...] = (
    PublishedResult("pq", 60.3, _FOLLOW_UP, model="ResNet-50, ImageNet", recalled=True),
    PublishedResult("pq_things", 56.1, _FOLLOW_UP, model="ResNet-50, ImageNet", recalled=True),
    PublishedResult("pq_stuff", 63.3, _FOLLOW_UP, model="ResNet-50, ImageNet", recalled=True),
    PublishedResult("miou", 77.5, _FOLLOW_UP, model="ResNet-50, ImageNet", recalled=True),
    PublishedResult("mask_ap", 33.6, _AGGREGATOR, model="ResNet-50, ImageNet"),
    PublishedResult("pq", 65.0, _AGGREGATOR, model="ResNet-50, Vistas"),
    PublishedResult("miou", 80.7, _AGGREGATOR, model="ResNet-50, Vistas"),
    PublishedResult(
        "pq", 58.9, "issue 8 of the published code", model="ResNet-50, default settings, a user"
    ),
)
"""Cityscapes, validation. (The paper's best test result, PQ 62.6, is not comparable with
validation.)"""
