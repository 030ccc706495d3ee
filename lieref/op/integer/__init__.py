"""Operators of quantised networks, exact to the bit."""
