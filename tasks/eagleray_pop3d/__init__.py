"""POP-3D: open-vocabulary 3-D occupancy from surround cameras."""
