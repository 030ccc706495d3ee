"""Metrics, latency and reports."""
