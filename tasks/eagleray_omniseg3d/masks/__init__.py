"""Where 2-D masks come from: Segment Anything, run-length files, a classical stand-in."""

from eagleray_omniseg3d.masks.source import MaskSource, open_source

__all__ = ["MaskSource", "open_source"]
