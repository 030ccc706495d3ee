"""A few coefficients of a transform of the weight: sparse in the spectrum, dense in the weight."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import check_scale, check_weight_shape
from lieref.param.seeded import Seeded


@dataclass(frozen=True)
class _Spectrum(Seeded):
    """xi = scale T(C), where all entries of C but a few at random places are zero."""

    formula: ClassVar[str] = "G·r·(O + I·k)"
    lowers_rank: ClassVar[bool] = False

    r: int = 4
    n_frequency: int | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int(type(self).__name__, "r", self.r, low=1)
        if self.n_frequency is not None:
            check_int(type(self).__name__, "n_frequency", self.n_frequency, low=1)
        check_scale(type(self).__name__, "scale", self.scale)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(n_frequency=5, scale=2.5, frozen_seed=7)

    def count_for(self, shape: Shape) -> int:
        """Return the number of coefficients of one conv group: those asked for, or all that there are."""
        return min(self._asked(shape), math.prod(shape))

    def group_adjusted(self, shape: Shape) -> str:
        count = self.count_for(shape)
        return f"all {count} coefficients" if count < self._asked(shape) else ""

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape(self.name, shape)
        return {"spectrum": (self.count_for(shape),)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        return {"spectrum": np.zeros((groups, self.count_for(shape)))}

    # Derivation.  xi = scale T(C) is linear in the entries of C at the places, and T^T is the adjoint of T: the
    # cotangent of the spectrum is scale T^T(xi_bar) at the same places.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        spectrum = params["spectrum"]
        rows, columns = shape[0], math.prod(shape[1:])
        flat = np.zeros((len(spectrum), rows * columns), spectrum.dtype)
        flat[:, self.places(rows * columns, spectrum.shape[1])] = spectrum
        return self.scale * self.transformed(flat.reshape(-1, rows, columns)).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        count = params["spectrum"].shape[1]
        found = self.adjoint(xi_bar.reshape(len(xi_bar), shape[0], -1)).reshape(len(xi_bar), -1)
        return {"spectrum": self.scale * found[:, self.places(found.shape[1], count)]}

    def _asked(self, shape: Shape) -> int:
        return self.n_frequency or self.r * (shape[0] + math.prod(shape[1:]))

    @staticmethod
    @abstractmethod
    def transformed(coefficients: FloatArray) -> FloatArray:
        """Return T of matrices (groups, rows, columns)."""

    @staticmethod
    @abstractmethod
    def adjoint(xi_bar: FloatArray) -> FloatArray:
        """Return T^T of matrices (groups, rows, columns)."""


@dataclass(frozen=True)
class Fourier(_Spectrum):
    """xi = scale Re(IDFT(C)), with C zero at the start: FourierFT.

    Per conv group, of the matrix with O rows and n = I k_h k_w columns, a kernel's positions in the columns:
    xi[p, q] = scale / (O n) sum over the places (u, v) of c cos(2 pi (u p / O + v q / n)). The authors start at
    normal coefficients, and so away from the base.

    Factor: ``spectrum`` (count,), in the order of the places u n + v.

    Parameters
    ----------
    r : int
        There are r (O + I k_h k_w) coefficients, as many as LoRA of rank r trains numbers, as far as there are so many.
    n_frequency : int, optional
        Coefficients of each conv group instead, the same number for every shape as in the publication.
    scale : float
        Of xi; 150 as in PEFT.
    frozen_seed, generator : int
        What the places are made of: a seed, 0 to 2**63 - 1, and the version of the generator.

    References
    ----------
    [Gao24, equations 2 to 4].
    """

    name: ClassVar[str] = "fourier"

    scale: float = 150.0

    # The matrix of Re(IDFT) is one of cosines, and symmetric: it is its own adjoint.
    @staticmethod
    def transformed(coefficients: FloatArray) -> FloatArray:
        if np.iscomplexobj(coefficients):  # a derivative by complex step: the transform of each part
            return Fourier.transformed(coefficients.real) + 1j * Fourier.transformed(coefficients.imag)
        real: FloatArray = np.fft.ifft2(coefficients).real
        return real

    @staticmethod
    def adjoint(xi_bar: FloatArray) -> FloatArray:
        real: FloatArray = np.fft.ifft2(xi_bar).real
        return real

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        total = np.abs(params["spectrum"]).sum(axis=1) * self.scale / math.prod(shape)
        return np.broadcast_to(total.reshape(-1, *(1,) * len(shape)), (len(total), *shape))

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        # A fast transform of N numbers is off by c log2(N) u, each stage a complex product and a sum [Higham02,
        # section 24.1]; no size has 64 stages.
        return 64 * 4


@dataclass(frozen=True)
class Wavelet(_Spectrum):
    """xi = scale IDWT(C), one level of the Haar wavelet in two dimensions, with C zero at the start: WaveFT.

    Per conv group, of the matrix with O rows and I k_h k_w columns, a kernel's positions in the columns. C is padded to
    even sides and has four quarters, A at the top left, H at the top right, V below A and D below H:
    xi[2 p + a, 2 q + b] = scale / 2 (A + (-1)^a H + (-1)^b V + (-1)^(a + b) D)[p, q], cut to the matrix. The places
    are those of the matrix before it is padded.

    Factor: ``spectrum`` (count,), in the order of the places.

    Parameters
    ----------
    r : int
        There are r (O + I k_h k_w) coefficients, as many as LoRA of rank r trains numbers, as far as there are so many.
    n_frequency : int, optional
        Coefficients of each conv group instead, the same number for every shape as in the publication.
    scale : float
        Of xi; 25 as in PEFT.
    frozen_seed, generator : int
        What the places are made of: a seed, 0 to 2**63 - 1, and the version of the generator.

    References
    ----------
    [Bilican25, equation 4], whose code and PEFT's take any wavelet; Haar is its default.
    """

    name: ClassVar[str] = "wavelet"

    scale: float = 25.0

    # The matrix [[1, 1], [1, -1]] / sqrt(2) along each axis is orthogonal, so T^T is the transform forwards, from and
    # to padded matrices; cutting and padding are adjoint.
    @staticmethod
    def transformed(coefficients: FloatArray) -> FloatArray:
        rows, columns = coefficients.shape[1:]
        c = _padded(coefficients)
        p, q = c.shape[1] // 2, c.shape[2] // 2
        quarters = c.reshape(-1, 2, p, 2, q)  # below or not, p, right or not, q: to b, p, a, q
        return (0.5 * _sums_and_differences(quarters, 1, 3).transpose(0, 2, 3, 4, 1)).reshape(c.shape)[
            :, :rows, :columns
        ]

    @staticmethod
    def adjoint(xi_bar: FloatArray) -> FloatArray:
        rows, columns = xi_bar.shape[1:]
        x = _padded(xi_bar)
        pairs = x.reshape(-1, x.shape[1] // 2, 2, x.shape[2] // 2, 2)
        return (0.5 * _sums_and_differences(pairs, 2, 4).transpose(0, 4, 1, 2, 3)).reshape(x.shape)[:, :rows, :columns]

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        spectrum = np.abs(params["spectrum"])
        rows, columns = shape[0], math.prod(shape[1:])
        flat = np.zeros((len(spectrum), rows * columns), spectrum.dtype)
        flat[:, self.places(rows * columns, spectrum.shape[1])] = spectrum
        c = _padded(flat.reshape(-1, rows, columns))
        quarters = c.reshape(-1, 2, c.shape[1] // 2, 2, c.shape[2] // 2)
        total: FloatArray = quarters.sum(axis=(1, 3)) * (0.5 * self.scale)
        return total.repeat(2, axis=1).repeat(2, axis=2)[:, :rows, :columns].reshape(-1, *shape)

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return 4


def _padded(matrices: FloatArray) -> FloatArray:
    """Return matrices (groups, rows, columns) with a row and a column of zeros where their number is odd."""
    return np.pad(matrices, ((0, 0), (0, matrices.shape[1] % 2), (0, matrices.shape[2] % 2)))


def _sums_and_differences(x: FloatArray, *axes: int) -> FloatArray:
    """Return the sum, and then the difference, of the two slices along each of the axes of size 2."""
    for axis in axes:
        first, second = np.split(x, 2, axis=axis)
        x = np.concatenate([first + second, first - second], axis=axis)
    return x
