"""Detection: a box and a class for every thing."""
