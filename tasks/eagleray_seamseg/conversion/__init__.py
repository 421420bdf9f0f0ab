"""Data sets as sources of photographs and panoptic labels: listing, and conversion of one image."""
