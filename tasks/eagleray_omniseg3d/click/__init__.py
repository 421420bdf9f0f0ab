"""Selecting by click: prompts, similarities, thresholds, and objects without clicks."""
