"""Lie groups, the maps that reach them from their algebras, and their actions on weights."""
