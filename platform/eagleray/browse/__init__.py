"""What the dashboard and the report share: indices of runs and sweeps, galleries."""
