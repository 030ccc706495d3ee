"""The golden cases: which inputs, and why."""
