"""How colours look in grey and to eyes without the green-sensitive cones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Machado, Oliveira and Fernandes 2009, deuteranopia, on linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def linear(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear RGB of sRGB in 0 to 1."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def encoded(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB of linear RGB."""
    rgb = np.clip(rgb, 0, 1)
    return np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)


def deuteranopia(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB as these eyes see it."""
    return encoded(linear(rgb) @ DEUTERANOPIA.T)


def grey(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB as a print in grey."""
    return np.repeat(encoded(linear(rgb) @ LUMINANCE)[..., None], 3, axis=-1)


def main() -> None:
    """Write DIR/NAME-grey.png and DIR/NAME-deuteranopia.png for every PNG of a folder."""
    from PIL import Image

    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.png")):
        rgb = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64) / 255
        for seen in (grey, deuteranopia):
            Image.fromarray((255 * seen(rgb)).round().astype(np.uint8)).save(
                target / f"{path.stem}-{seen.__name__}.png"
            )


if __name__ == "__main__":
    main()
