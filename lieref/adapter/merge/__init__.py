"""Merged weights, the same on every machine, with NumPy alone."""
