"""Quantised networks against the runtimes that devices use."""
