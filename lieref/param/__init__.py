"""Parameterisations: from few trainable factors to an algebra element and an adapted weight."""
