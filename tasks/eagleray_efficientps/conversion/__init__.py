"""The layout that the original trains and evaluates on, read and written."""
