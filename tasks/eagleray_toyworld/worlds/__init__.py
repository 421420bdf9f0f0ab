"""Whole scenes as functions of (seed, scene number): streets and furnished rooms."""
