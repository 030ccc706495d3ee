"""Convolution, pooling and matrix products: the plain loops that define them and the compiled ones."""
