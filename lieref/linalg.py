"""Matrix functions and the convolution, each with its derivative; float32 or float64, arguments checked.

Exponential of a matrix: `expm`, `expm_minus_identity` (without cancellation), `expm_frechet` (the derivative along a
direction), `expm_vjp`; the principal logarithm `logm`; the functions `matrix_phi` of exponential integrators.

Exponentials of a product B A of low rank, at the cost of r x r functions: `exp_low_rank`, of B A - (B A)^T
`exp_skew_low_rank`, of B A less its mean trace `exp_traceless_low_rank`; each also less the identity, without
cancellation, and with its VJP.

Convolution in one to three dimensions: `conv`, `conv_vjp`.

``f_vjp`` takes the arguments of ``f`` in the order of ``f`` and then the cotangent of its result, and returns the
cotangents of the arrays: <y_bar, Df(x)[x_dot]> = <x_bar, x_dot> for every x_dot. Leading axes are batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref._lazy import public_names

if TYPE_CHECKING:
    from lieref.kernel.conv import conv as conv
    from lieref.kernel.conv import conv_vjp as conv_vjp
    from lieref.numerics.expm import expm as expm
    from lieref.numerics.expm import expm_frechet as expm_frechet
    from lieref.numerics.expm import expm_minus_identity as expm_minus_identity
    from lieref.numerics.expm import expm_vjp as expm_vjp
    from lieref.numerics.low_rank import exp_low_rank as exp_low_rank
    from lieref.numerics.low_rank import exp_low_rank_minus_identity as exp_low_rank_minus_identity
    from lieref.numerics.low_rank import exp_low_rank_vjp as exp_low_rank_vjp
    from lieref.numerics.low_rank import exp_skew_low_rank as exp_skew_low_rank
    from lieref.numerics.low_rank import exp_skew_low_rank_minus_identity as exp_skew_low_rank_minus_identity
    from lieref.numerics.low_rank import exp_skew_low_rank_vjp as exp_skew_low_rank_vjp
    from lieref.numerics.low_rank import exp_traceless_low_rank as exp_traceless_low_rank
    from lieref.numerics.low_rank import exp_traceless_low_rank_minus_identity as exp_traceless_low_rank_minus_identity
    from lieref.numerics.low_rank import exp_traceless_low_rank_vjp as exp_traceless_low_rank_vjp
    from lieref.numerics.matrix_maps import logm as logm
    from lieref.numerics.phi import matrix_phi as matrix_phi
    from lieref.numerics.phi import matrix_phi_vjp as matrix_phi_vjp

_PLACES = {
    "expm": "lieref.numerics.expm:expm",
    "expm_minus_identity": "lieref.numerics.expm:expm_minus_identity",
    "expm_frechet": "lieref.numerics.expm:expm_frechet",
    "expm_vjp": "lieref.numerics.expm:expm_vjp",
    "logm": "lieref.numerics.matrix_maps:logm",
    "matrix_phi": "lieref.numerics.phi:matrix_phi",
    "matrix_phi_vjp": "lieref.numerics.phi:matrix_phi_vjp",
    "exp_low_rank": "lieref.numerics.low_rank:exp_low_rank",
    "exp_low_rank_minus_identity": "lieref.numerics.low_rank:exp_low_rank_minus_identity",
    "exp_low_rank_vjp": "lieref.numerics.low_rank:exp_low_rank_vjp",
    "exp_skew_low_rank": "lieref.numerics.low_rank:exp_skew_low_rank",
    "exp_skew_low_rank_minus_identity": "lieref.numerics.low_rank:exp_skew_low_rank_minus_identity",
    "exp_skew_low_rank_vjp": "lieref.numerics.low_rank:exp_skew_low_rank_vjp",
    "exp_traceless_low_rank": "lieref.numerics.low_rank:exp_traceless_low_rank",
    "exp_traceless_low_rank_minus_identity": "lieref.numerics.low_rank:exp_traceless_low_rank_minus_identity",
    "exp_traceless_low_rank_vjp": "lieref.numerics.low_rank:exp_traceless_low_rank_vjp",
    "conv": "lieref.kernel.conv:conv",
    "conv_vjp": "lieref.kernel.conv:conv_vjp",
}

__all__ = list(_PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = public_names(__name__, _PLACES)
