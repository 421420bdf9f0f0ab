"""What a run holds: its folder, environment, lease, metrics, rejects, results."""
