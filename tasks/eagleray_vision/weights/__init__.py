"""Weight files of others: read without running anything, every tensor accounted for."""
