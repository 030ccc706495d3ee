"""Lie algebras: vector spaces with a bracket."""
