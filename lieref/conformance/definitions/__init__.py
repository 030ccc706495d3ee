"""What every method, group, action, map, loss and layer is, written out from its publication in 64 digits.

Nothing here is built from the code under test: a definition takes numbers and returns numbers, in the plainest form its
source allows. Derivatives come from the recorded steps of a definition (`lieref.conformance.definitions.number`), not
from anybody's formula. Needs mpmath, from the extra ``test``.
"""
