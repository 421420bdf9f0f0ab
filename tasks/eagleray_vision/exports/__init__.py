"""Panoptic maps as files: one module per format."""

from eagleray_vision.exports.formats import (
    PANOPTIC_FORMATS,
    check_export_format,
    export_index,
    export_panoptic,
)

__all__ = ["PANOPTIC_FORMATS", "check_export_format", "export_index", "export_panoptic"]
