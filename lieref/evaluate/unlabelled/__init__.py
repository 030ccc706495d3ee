"""Learning from samples without labels: statistics of all, and pseudo-labels of those that teachers agree on."""
