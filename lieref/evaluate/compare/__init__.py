"""Several methods on one job: the same budget, the same search of the learning rate, the test samples touched once."""
