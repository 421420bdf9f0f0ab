"""Pictures of the whole sphere: equirectangular panoramas, cube maps and perspective views.

Directions are (x, y, z) with x to the right, y up, z forward, of any length. Longitude is measured
to the right of the view, latitude upwards. A panorama of ``H x W`` pixels has longitude -180
degrees at the left edge of column 0 and the zenith at the upper edge of row 0, so that column
``W - 1`` and column 0 are neighbors: every function wraps around there, unless it is asked to do as
the library that the original OPS uses (py360convert 0.1.0), whose pixels lie elsewhere.
"""

from __future__ import annotations

from eagleray_vision.sphere.cube import (
    FACES,
    cube_to_panorama,
    faces_from_strip,
    panorama_to_cube,
    strip_from_faces,
)
from eagleray_vision.sphere.directions import View, panorama_directions, view_directions
from eagleray_vision.sphere.errors import SphereError
from eagleray_vision.sphere.perspective import panorama_to_view, views_to_panorama
from eagleray_vision.sphere.sampling import Interpolation, roll_panorama, sample_panorama

__all__ = [
    "FACES",
    "Interpolation",
    "SphereError",
    "View",
    "cube_to_panorama",
    "faces_from_strip",
    "panorama_directions",
    "panorama_to_cube",
    "panorama_to_view",
    "roll_panorama",
    "sample_panorama",
    "strip_from_faces",
    "view_directions",
    "views_to_panorama",
]
