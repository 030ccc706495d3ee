"""CorDA: the parts of a weight that matter most, or least, to what its layer reads.

With C the second moment of the inputs of a layer, sum x x^T over vectors or patches, the singular value decomposition
W C = U S V^T gives W = U S V^T C^-1, a sum of products u s (v^T C^-1) that are ordered by how much they do to such
inputs [Yang24]. Adapting the largest learns from them (that publication's instruction-previewed mode), adapting the
smallest keeps what the network does with them (its knowledge-preserved mode).
"""

from __future__ import annotations

import numpy as np

from lieref._types import FloatArray
from lieref.param._base import transposed

DAMPING = 0.01
"""What is added to the diagonal of C, of its mean, as in PEFT: C is singular where inputs are fewer than columns."""


# Derivation.  W C = U S V^T and C = C^T are as in the text; C + d I has eigenvalues between d and n m + d, where m is
# the mean of the diagonal and n the number of columns. With d = m / 100 its condition is at most 100 n + 1, so that
# C C^-1 is I within some 1e-14 n^2 in float64: PEFT, in float32, makes d larger until that is below 0.05, which here it
# is. A factor c of C makes S and B larger by c and its root, and A smaller by that root, and leaves B A: with m = 1,
# where PEFT divides each sample by its largest entry, white inputs give PiSSA's factors, but for 1 + d.
def weighted_parts(
    matrices: FloatArray, moments: FloatArray | None, r: int, *, smallest: bool
) -> tuple[FloatArray, FloatArray]:
    """Return U sqrt(S) and sqrt(S) V^T C^-1 of the r largest, or smallest, singular values S of W C.

    C is scaled to a mean of 1 on its diagonal and damped; of zero inputs it is I. Values that are zero to rounding, of
    filters that are zero or depend on others, are among the smallest only where there are not r others: their factors
    would be zero too, and nothing could move them. PEFT takes them.

    Parameters
    ----------
    matrices : (groups, rows, n) float64 array
        W.
    moments : (groups, n, n) float64 array, optional
        C of each, symmetric and finite; None for I.
    r : int
        At most rows and n.
    smallest : bool

    Returns
    -------
    (groups, rows, r) and (groups, r, n) float64 arrays
    """
    weighted = matrices
    if moments is not None:
        eye = np.eye(moments.shape[-1])
        mean = np.trace(moments, axis1=1, axis2=2)[:, None, None] / len(eye)
        moments = np.where(mean > 0, moments / np.where(mean > 0, mean, 1.0), eye) + DAMPING * eye
        weighted = matrices @ moments
    u, s, vt = np.linalg.svd(weighted, full_matrices=False)
    if moments is not None:
        vt = transposed(np.linalg.solve(moments, transposed(vt)))
    negligible = s[:, :1] * max(matrices.shape[1:]) * np.finfo(np.float64).eps
    ends = np.maximum((s > negligible).sum(axis=1), r) if smallest else np.full(len(s), r)
    at = ends[:, None] - r + np.arange(r)
    root = np.sqrt(np.take_along_axis(s, at, 1))
    b = np.take_along_axis(u, at[:, None, :], 2) * root[:, None, :]
    return b, root[:, :, None] * np.take_along_axis(vt, at[:, :, None], 1)
