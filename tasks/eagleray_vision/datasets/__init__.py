"""Data sets in their published layouts as sources of photographs and panoptic labels."""
