"""Ablations, grids and searches: trials are ordinary runs, scheduled by Ray Tune."""
