"""A device with a new store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapter.store.device import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
