"""PEFT's kinds with random matrices, which are read from the file, and with random places.

The matrices depend on the widest of all layers that are adapted, so that a file without them is refused. The places of
FourierFT and WaveFT are a permutation that PyTorch's generator makes of a seed, which is made again here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.exchange.factors import Factors, Place, dense
from lieref.adapter.exchange.peft_options import Options, number
from lieref.adapter.exchange.peft_tensors import linear, matrix, vector, with_room
from lieref.adapter.exchange.torch_places import randperm
from lieref.errors import ShapeError, UnsupportedError
from lieref.param.spectrum import Fourier, Wavelet


def read_vera(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return VeRA as LoRA: B diag(b) and diag(d) A of the file's own random matrices."""
    out, n = linear(place)
    wide_a, wide_b = (_projection(tensors, name, "VeRA") for name in ("vera_A", "vera_B"))
    b, d = vector(tensors["vera_lambda_b"], out), tensors["vera_lambda_d"]
    r = d.size
    if wide_a.ndim != 2 or wide_b.ndim != 2 or wide_a.shape[0] != r or wide_b.shape[1] != r:
        raise ShapeError(f"import: vera_A must have {r} rows and vera_B as many columns; got {wide_a.shape}")
    if wide_a.shape[1] < n or len(wide_b) < out:
        raise ShapeError(f"import: vera_A and vera_B must reach {n} inputs and {out} outputs; got {wide_a.shape}")
    a, left, notes = with_room(
        d.reshape(-1, 1).astype(np.float64) * wide_a[:, :n], b.reshape(-1, 1).astype(np.float64) * wide_b[:out]
    )
    said = "VeRA's random matrices are PEFT's, which no seed here makes: kept as LoRA"
    method = {"name": "lora", "r": len(a), "lora_alpha": len(a)}
    return Factors(method, {"lora_a": a, "lora_b": left}, rows=("lora_b",), notes=(*notes, said))


def read_randlora(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return RandLoRA as a whole tensor, for its rank is full."""
    out, n = linear(place)
    wide_a, wide_b = (_projection(tensors, name, "RandLoRA") for name in ("randlora_A", "randlora_B"))
    scale, gain = (matrix(tensors[f"randlora_{name}"], name).astype(np.float64) for name in ("lambda", "gamma"))
    (r, terms), few, many = scale.shape, min(out, n), max(out, n)
    fits = r > 0 and wide_a.ndim == wide_b.ndim == 3 and gain.shape == (terms, few) and wide_a.shape[:2] == (r, 1)
    if not fits or wide_a.shape[2] < few or len(wide_b) < many or wide_b.shape[1] < terms or wide_b.shape[2] != r:
        raise ShapeError(
            f"import: RandLoRA must have A ({r}, 1, {few} or more) and B ({many}, {terms}, {r}) or more; got "
            f"{wide_a.shape} and {wide_b.shape}"
        )
    alpha = number(options.config, "randlora_alpha", 640)
    # PEFT lays the terms of A out as (r, terms) and those of B as (terms, r), and multiplies them flat.
    rows = (scale[:, :, None] * wide_a[:, :, :few] * gain).reshape(r * terms, few)
    tall = alpha / r * wide_b[:many, :terms].reshape(many, terms * r) @ rows
    return dense(tall if few == n else tall.T, "RandLoRA's random matrices are PEFT's, which no seed here makes")


def read_shira(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return SHiRA as a whole tensor, for its places are any."""
    out, n = linear(place)
    values, places = tensors["shira_weight"], tensors["shira_indices"]
    if values.ndim != 1 or places.shape != (2, values.size):
        raise ShapeError(f"import: shira_indices must be (2, {values.size}); got {places.shape}")
    rows, columns = places.astype(np.int64)
    if values.size and (places.min() < 0 or rows.max() >= out or columns.max() >= n):
        raise ShapeError(f"import: shira_indices must lie in a weight ({out}, {n})")
    change = np.zeros((out, n))
    np.add.at(change, (rows, columns), values)
    return dense(change, "SHiRA's places are those of the file, which no seed here makes")


def read_fourierft(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return FourierFT as a whole tensor; PEFT transforms in float32, whatever its tensors are."""
    coefficients, scale = _spectrum("fourierft", tensors, options, place, 150.0)
    change = scale * Fourier.transformed(coefficients[None])[0]
    return dense(change, "FourierFT's places are PyTorch's, which no seed here makes")


def read_waveft(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return WaveFT as a whole tensor."""
    coefficients, scale = _spectrum("waveft", tensors, options, place, 25.0)
    if options.config.get("use_idwt", True):
        family = options.config.get("wavelet_family", "db1")
        if family != "db1":
            raise UnsupportedError(f"import: `wavelet_family` must be db1, Haar's, the only one here; got {family}")
        coefficients = Wavelet.transformed(coefficients[None])[0]
    return dense(scale * coefficients, "WaveFT's places are PyTorch's, which no seed here makes")


def _spectrum(
    prefix: str, tensors: Mapping[str, Array], options: Options, place: Place, scale: float
) -> tuple[FloatArray, float]:
    """Return a matrix with the coefficients at their places, and the number in front of it."""
    (out, n), values = linear(place), tensors[f"{prefix}_spectrum"]
    if values.ndim != 1 or values.size > out * n:
        raise ShapeError(f"import: {prefix}_spectrum must have at most {out * n} numbers; got {values.shape}")
    seed = options.config.get("random_loc_seed", 777)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UnsupportedError(f"import: `random_loc_seed` must be a number that the places are made of; got {seed}")
    flat = np.zeros(out * n)
    flat[randperm(seed, out * n, values.size)] = values
    return flat.reshape(out, n), number(options.config, "scaling", scale)


def _projection(tensors: Mapping[str, Array], name: str, kind: str) -> Array:
    if name not in tensors:
        raise UnsupportedError(
            f"import: {name} must be in the file: PEFT makes it of the widest of all layers; train {kind} with "
            "save_projection=True, which is the default, or merge the adapter in PEFT and export the network again"
        )
    return tensors[name]
