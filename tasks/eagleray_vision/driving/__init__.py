"""Key frames of a vehicle with lidar and cameras: read, checked, projected."""
