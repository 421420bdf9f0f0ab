"""Backbones of networks, and their pretrained weights."""
