"""Predictions as files: one module per format."""

from eagleray_seamseg.exports.formats import (
    EXPORT_FORMATS,
    check_export_format,
    export_index,
    export_prediction,
)

__all__ = ["EXPORT_FORMATS", "check_export_format", "export_index", "export_prediction"]
