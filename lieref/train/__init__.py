"""Training: data, losses, optimisers, schedules, the loop and its checkpoints."""
