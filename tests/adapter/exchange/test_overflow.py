"""Numbers of an adapter that are finite in its file and no more in the factors that they become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.exchange.build import attach_foreign
from lieref.adapter.exchange.readers import read_foreign
from lieref.adapter.model import load
from lieref.adapter.tensor_file import write_tensor_file
from lieref.errors import DomainError
from tests.adapter.exchange.network import state, write


def test_blocks_that_overflow_are_refused_and_nothing_is_attached(tmp_path: Path) -> None:
    """LyCORIS's blocks come four times as large into lieref's: here beyond float32."""
    blocks = np.zeros((1, 3, 2, 2), np.float32)
    blocks[0, 2, 0, 0] = -1.3e38
    write_tensor_file(tmp_path / "a.safetensors", {"lycoris_block_0_conv.oft_blocks": blocks})
    model = load(write(tmp_path / "base.onnx", state()))
    with pytest.raises(DomainError, match="must be finite; got -inf"):
        attach_foreign(model, read_foreign(tmp_path / "a.safetensors"))
    assert not model.sites
    assert not model.attached
