"""Photographs with their labels, placed on the input of a network, and batches of them."""
