"""Signed bundles: what a device checks, with NumPy alone, and how they are made and signed."""
