"""Blocks of region-based detectors: boxes, anchors, assignment, proposals, RoI sampling, masks.

Boxes are ``(y0, x0, y1, x1)`` in pixels of the network input, edges based: a box that covers pixel
rows 3 to 5 has y0 = 3 and y1 = 6, and pixel (i, j) has its center at (i + 0.5, j + 0.5). Functions
that also serve the older convention of inclusive corners (width = x1 - x0 + 1) say so.
"""
