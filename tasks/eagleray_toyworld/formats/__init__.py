"""Frames and rooms in published on-disk layouts, and the folder that they are laid out in."""
