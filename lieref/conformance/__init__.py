"""Golden cases, certified bounds and verdicts."""
