"""Weight decay in the algebra: what is trained is pulled to the base, by how far it is from it and not by its factors.

The objective is L + lambda / 2 sum |xi|^2, over the adapted tensors, with Frobenius' norm of the element xi of the
algebra. Decay of the factors (`AdamW.weight_decay`) pulls A of B A to zero, which is nowhere near where it starts; it
depends on how xi is written, and (B Q)(Q^-1 A) decays otherwise than B A. This does not.

What |xi| measures, for g = exp(xi) and e the identity, the base:

- additive: |xi| = |W' - W0|.
- Hadamard and scaling groups, positive tensors under products entry by entry, with the invariant metric
  <x, y>_g = sum (x / g)(y / g): log is an isometry to the flat R^n, so the distance of g from e is |xi|, and
  |xi|^2 = sum (log |w'| - log |w0|)^2. Entries at weights of zero count too, though they move nothing.
- SO: <X, Y> = tr(X^T Y) does not change under rotations from either side, so the geodesics from e are exp(t X) and the
  distance is the least |X| with exp(X) = g. That is |xi| where no angle of xi is above pi, and less elsewhere. With the
  angles theta, |xi|^2 = 2 sum theta^2.
- GL, SL, Sp, triangular and affine matrices, with the left-invariant metric that is <X, Y> = tr(X^T Y) at e: the curve
  exp(t xi), 0 <= t <= 1, lies in the group and has the velocity g xi, so its length is |xi|, and the distance is that
  at most. It is a geodesic of GL if and only if xi^T xi = xi xi^T: with v = g^-1 g' these obey v' = ad_v^T v, and
  <ad_v^T v, w> = <v, v w - w v> = tr((v^T v - v v^T) w) = <[v^T, v], w>, so v stays what it is where [v^T, v] = 0.

A product of groups, such as those of conv groups, has the sum of the squares. Of other maps than exp: `bounded` and, on
SO, `cayley` make elements that are no further than |xi|, for |c tanh(x / c)| <= |x| and 2 arctan(x / 2) <= x; of the
rest, and of the products of rotations of `boft` and `hra`, |xi| is the distance to first order. Of DoRA xi is that of
the direction; its lengths do not decay. A rotation that conv groups share counts once. A new head has no base and is
left out.
"""

from __future__ import annotations

import numpy as np

from lieref._types import Params
from lieref.train._protocol import Trainable


def add_algebra_decay(grads: Params, model: Trainable, decay: float) -> None:
    """Add, in place, the gradient of decay / 2 sum |xi|^2.

    Optimisers see it as a part of the loss: clipping counts it, and Adam divides it by its moments.

    Raises
    ------
    DomainError
        If an xi is not finite.
    """
    for name, bar in model.algebra_grads().items():
        grads[name] += np.asarray(decay, bar.dtype) * bar
