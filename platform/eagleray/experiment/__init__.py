"""Experiments: what a YAML may say, how it is read and checked, and which tasks are installed."""
