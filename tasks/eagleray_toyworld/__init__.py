"""Task ``toyworld``: generated data with exact truth, made by ``eagleray prepare``."""
