"""Operators of quantised networks by their definition, in Python's own integers and fractions.

Nothing here is shared with `lieref.op.integer`, which is judged by it: a number is a Python int or a Fraction, an
entry is computed by itself, and floats of a kernel are fractions rounded to 24 or 53 binary digits.
"""
