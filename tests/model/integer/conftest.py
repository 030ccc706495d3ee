"""The files of public networks."""

from __future__ import annotations

from pathlib import Path

import pytest

NETWORKS = ("pretrainedResnet_quant", "vww_96_int8", "ad01_int8")


@pytest.fixture(scope="session", params=NETWORKS)
def public_file(request: pytest.FixtureRequest, data_dir: Path) -> bytes:
    """Return the bytes of each public network, or skip."""
    path = data_dir / "mlperf_tiny" / f"{request.param}.tflite"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    return path.read_bytes()
