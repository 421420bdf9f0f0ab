"""eagleray: a distributed experiment platform for scene segmentation."""

__version__ = "0.1.0"
