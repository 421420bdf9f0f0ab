"""Runs: their folders, what is written into them, and how they are shown."""
