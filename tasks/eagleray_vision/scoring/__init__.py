"""Scoring of panoptic predictions: the rule, one image, the ceiling of fusion, a whole split."""
