"""What lieref's extras bring: for what the doctor lists, and for the line that says what to install."""

from __future__ import annotations

EXTRAS: dict[str, dict[str, str]] = {
    "app": {"click": "click", "rich": "rich", "onnx": "onnx", "matplotlib": "matplotlib", "jinja2": "jinja2",
            "markupsafe": "markupsafe", "scikit-learn": "sklearn", "pillow": "PIL"},
    "text": {"tokenizers": "tokenizers"},
    "ort": {"onnxruntime": "onnxruntime"},
    "int8": {"flatbuffers": "flatbuffers", "tflite": "tflite"},
    "sweep": {"joblib": "joblib", "dask": "dask", "distributed": "distributed"},
    "sign": {"securesystemslib": "securesystemslib", "cryptography": "cryptography"},
    "ports": {"torch": "torch", "jax": "jax"},
}  # fmt: skip
"""Extra -> package -> the name it is imported by."""


def install_line(extra: str) -> str:
    """Return the line that installs an extra."""
    return f"pip install 'lieref[{extra}]'"


def extra_of(module: str) -> str | None:
    """Return the extra that a module comes with, None for one of no extra."""
    top = module.partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if top in packages.values()), None)
