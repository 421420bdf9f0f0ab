"""The radiance field: hash grids and small networks, occupancy grid, volume rendering."""

from eagleray_omniseg3d.model.field import RadianceField
from eagleray_omniseg3d.model.occupancy import OccupancyGrid

__all__ = ["OccupancyGrid", "RadianceField"]
