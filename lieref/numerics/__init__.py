"""Array functions and their vector-Jacobian products."""
