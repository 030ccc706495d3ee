"""New numbers in the bytes of the old ones: nothing else moves, and the way back is exact."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from lieref.errors import DomainError, UnsupportedError
from lieref.model.integer.graph import ByteRange
from lieref.model.integer.patch import Patch, make_patch, with_content
from lieref.model.integer.reader import read_integer
from tests.model.integer.test_onnx_readers import minimal


def test_only_the_places_change_and_the_way_back_is_exact(tmp_path: Path) -> None:
    onnx.save(minimal(), tmp_path / "net.onnx")
    graph = read_integer(tmp_path / "net.onnx")
    scales, bias = np.array([0.3, 0.1, 0.25], np.float32), np.array([-7, 2**31 - 1, -(2**31)])
    patch = make_patch(graph, {"w": scales}, {"b": bias})
    content = patch.apply(graph.content)
    assert len(content) == len(graph.content)
    differing = np.flatnonzero(np.frombuffer(content, np.uint8) != np.frombuffer(graph.content, np.uint8))
    inside = {position for place in patch.places for position in range(place.start, place.stop)}
    assert inside.issuperset(differing.tolist())
    assert len(inside) == 12 + 12
    (tmp_path / "new.onnx").write_bytes(content)
    again, short = read_integer(tmp_path / "new.onnx"), with_content(graph, content)
    for found in (again, short):
        assert found.tensors["w"].quantisation is not None
        np.testing.assert_array_equal(found.tensors["w"].quantisation.scale, scales)
        np.testing.assert_array_equal(found.tensors["b"].data, bias)
        np.testing.assert_array_equal(found.tensors["w"].data, graph.tensors["w"].data)
    back = patch.inverse(graph.content)
    state, digests = graph.content, set()
    for _ in range(1000):
        state = patch.apply(state)
        digests.add(hashlib.sha256(state).hexdigest())
        state = back.apply(state)
        digests.add(hashlib.sha256(state).hexdigest())
    assert state == graph.content
    assert len(digests) == 2


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, 1e-40])
def test_a_scale_that_kernels_cannot_use_is_refused(bad: float, tmp_path: Path) -> None:
    onnx.save(minimal(), tmp_path / "net.onnx")
    graph = read_integer(tmp_path / "net.onnx")
    with pytest.raises(DomainError, match="positive"):
        make_patch(graph, {"w": np.array([0.1, bad, 0.1], np.float32)}, {})


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    onnx.save(minimal(), tmp_path / "net.onnx")
    graph = read_integer(tmp_path / "net.onnx")
    with pytest.raises(DomainError, match="must lie in"):
        make_patch(graph, {}, {"b": np.array([0, 0, 2**31])})
    with pytest.raises(DomainError, match="shape"):
        make_patch(graph, {"w": np.ones(2, np.float32)}, {})
    with pytest.raises(UnsupportedError, match="plain bytes"):
        make_patch(graph, {}, {"q": np.zeros(4, np.int8)})
    with pytest.raises(UnsupportedError, match="overlap"):
        Patch(((ByteRange(0, 2), b"ab"), (ByteRange(1, 3), b"cd")))
    with pytest.raises(DomainError, match="fill"):
        Patch(((ByteRange(0, 2), b"abc"),))
