"""Panoptic labels: records, file formats, class lists, contours and fusion."""
