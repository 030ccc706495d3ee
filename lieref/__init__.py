"""Reference of Lie-group fine-tuning for convolution kernels and any other tensor, on a CPU."""

__version__ = "0.1.0"
