"""Running the self-test of an update: the quantised file with the update in it, in a runtime that rounds as it says.

Used by ``python -m lieref.adapter.run_self_test``, which is ready to be the self-test of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from lieref._text import did_you_mean
from lieref._types import Array
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.integer.form import SELF_TEST
from lieref.adapter.integer.self_test import check_self_test, self_test_inputs
from lieref.errors import DomainError, LierefError, MissingExtraError
from lieref.model.integer.detect import TFLITE_MARK

RESOLVERS = {
    "tflite-reference": "BUILTIN_REF",
    "tflite-optimised": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "xnnpack": "BUILTIN",
}
"""Semantics -> the set of kernels of LiteRT that rounds so."""


def run_update_test(said: Mapping[str, Any], content: bytes, *, runtime: str | None = None) -> tuple[str, int]:
    """Run a quantised file on the inputs of a bundle and compare its outputs, integer by integer.

    Parameters
    ----------
    said : mapping
        The file of text of the update, with its self-test.
    content : bytes
        The file with the update in it.
    runtime : {"litert", "onnxruntime", "lieref"}, optional
        By default the first that is installed and rounds as the self-test says; lieref's integer reference always does.

    Returns
    -------
    runtime : str
        What ran it, and in which semantics.
    compared : int
        Integers that were compared; all are equal.

    Raises
    ------
    BundleRefused
        ``self-test`` if the bundle holds none, the file cannot be run, or an output is another.
    LierefError
        If there is no such runtime.
    """
    test = said.get(SELF_TEST)
    if test is None:
        raise _refused("the bundle must hold a self-test; it holds none (`lieref bundle create` says why)")
    name = _chosen(runtime, test["semantics"], content)
    try:
        outputs = RUNTIMES[name][1](content, self_test_inputs(test), test["semantics"])
    except MissingExtraError:
        raise
    except Exception as error:  # a runtime raises what it likes
        raise _refused(f"the updated file must run; {' '.join(str(error).split())[:500]}") from error
    try:
        return f"{name}, {test['semantics']}", check_self_test(test, outputs)
    except LierefError as error:
        raise _refused(f"{str(error).removeprefix('check_self_test: ')}, by {name}") from error


def _refused(why: str) -> BundleRefused:
    return BundleRefused("self-test", f"run_self_test: {why}")


def _in_litert(content: bytes, inputs: Sequence[Array], how: str) -> list[Array]:
    import warnings

    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernels = getattr(OpResolverType, RESOLVERS[how])
        made = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kernels)
        made.allocate_tensors()
    first, last = made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]
    outputs = []
    for x in inputs:
        made.set_tensor(first, x)
        made.invoke()
        outputs.append(made.get_tensor(last))
    return outputs


def _in_onnx_runtime(content: bytes, inputs: Sequence[Array], how: str) -> list[Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [session.run(None, {name: x})[0] for x in inputs]


def _in_lieref(content: bytes, inputs: Sequence[Array], how: str) -> list[Array]:
    import tempfile
    from pathlib import Path

    from lieref.model.integer.executor import run
    from lieref.model.integer.reader import read_integer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("updated.tflite" if _is_tflite(content) else "updated.onnx")
        path.write_bytes(content)
        graph = read_integer(path)
    return [run(graph, x, how) for x in inputs]


def _is_tflite(content: bytes) -> bool:
    return content[4:8] == TFLITE_MARK


def _has_quantised_operators(content: bytes) -> bool:
    """Tell whether it is ONNX of QLinear operators; integers of the QDQ form depend on what ONNX Runtime fuses."""
    return not _is_tflite(content) and any(word in content for word in (b"QLinearConv", b"QLinearMatMul", b"QGemm"))


def _there(*names: str) -> bool:
    return all(find_spec(name) is not None for name in names)


_Able = Callable[[str, bytes], bool]
_Run = Callable[[bytes, Sequence[Array], str], list[Array]]
RUNTIMES: dict[str, tuple[_Able, _Run]] = {
    "litert": (
        lambda how, content: how in RESOLVERS and _is_tflite(content) and _there("ai_edge_litert"),
        _in_litert,
    ),
    "onnxruntime": (
        lambda how, content: how == "onnxruntime" and _has_quantised_operators(content) and _there("onnxruntime"),
        _in_onnx_runtime,
    ),
    "lieref": (lambda how, content: _there("numba", "scipy", "tflite" if _is_tflite(content) else "onnx"), _in_lieref),
}
"""Whether it is installed and rounds so, and what runs the file in it; the first that does is taken."""


def _chosen(name: str | None, how: str, content: bytes) -> str:
    if name is not None and name not in RUNTIMES:
        near = did_you_mean(name, RUNTIMES)
        raise DomainError(f"run_self_test: `runtime` must be one of {', '.join(RUNTIMES)}; got {name!r}{near}")
    for known, (able, _) in RUNTIMES.items():
        if name in (None, known) and able(how, content):
            return known
    raise MissingExtraError(
        f"running the self-test needs {name or 'a runtime'}, installed and rounding as {how}; install lieref's own: "
        "pip install 'lieref[app,int8]'"
    )
