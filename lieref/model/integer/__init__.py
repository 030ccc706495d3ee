"""Quantised networks as files hold them: integers, scales, zero points, and where each lies in the file."""
