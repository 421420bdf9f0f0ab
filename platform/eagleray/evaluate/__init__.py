"""Distributed evaluation: rows per unit committed in shards, metrics computed over all of them."""
