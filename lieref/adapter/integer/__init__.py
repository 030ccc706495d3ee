"""Updates of quantised networks: other scales and biases for a file whose integers stay."""
