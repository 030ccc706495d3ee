"""Figures and tables of the paper and of this project's measurements, one module each."""
