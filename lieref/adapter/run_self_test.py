"""Running the self-test of a bundle: the merged network in ONNX Runtime or in lieref's own engine.

Of the update of a quantised file, see `lieref.adapter.integer.run_self_test`.

    python -m lieref.adapter.run_self_test BUNDLE BASE

is ready to be the self-test of a store: ``lieref device install BUNDLE --store DIR --self-test "python -m
lieref.adapter.run_self_test"``. With ONNX Runtime it needs NumPy beside it and nothing else. Exit status: 0 the outputs
are inside their bounds; 3 they are not, or the network cannot be run, with ``refused: self-test`` on stdout; 2 wrong
use, or no runtime; 1 a failure of the machine. A store refuses the bundle at any but 0.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lieref._text import did_you_mean
from lieref._types import Array
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.folder import encode_adapter, read_adapter
from lieref.adapter.integer.form import BIN_NAME, JSON_NAME, parse_update
from lieref.adapter.integer.places import apply_payload, read_payload
from lieref.adapter.integer.run_self_test import RUNTIMES as UPDATE_RUNTIMES
from lieref.adapter.integer.run_self_test import run_update_test
from lieref.adapter.merge.merging import merge_weights
from lieref.adapter.merged_file import merged_file
from lieref.adapter.self_test_check import check_self_test, self_test_inputs
from lieref.adapter.weights import decode_weights
from lieref.errors import DomainError, LierefError, MissingExtraError, UnsupportedError

PASSED, FAILED, WRONG_USE, REFUSED = 0, 1, 2, 3
PROGRAM = "python -m lieref.adapter.run_self_test"


@dataclass(frozen=True)
class Ran:
    """What a self-test found.

    Attributes
    ----------
    runtime : str
        What ran the network, with its version.
    of_bound : float
        The largest error in units of its bound, from 0 to 1.
    """

    runtime: str
    of_bound: float


def run_self_test(
    tensors: Mapping[str, Array], config: Mapping[str, Any], base: str | Path, *, runtime: str | None = None
) -> Ran:
    """Run the merged network on the inputs of a bundle and compare its outputs.

    Parameters
    ----------
    tensors, config
        Of the bundle, as `Verified` and `read_adapter` have them.
    base : path
        The ONNX file that it is for.
    runtime : {"onnxruntime", "lieref"}, optional
        By default the first of them that is installed. lieref's engine is compiled, in float32, without a transform of
        convolutions.

    Raises
    ------
    BundleRefused
        ``self-test`` if the bundle holds none, the network cannot be run, or an output is off by more than its bound.
    LierefError
        If there is no such runtime, or the adapter cannot be merged into the base.
    """
    run = _runtime(runtime)
    base = Path(base)
    if base.suffix == ".safetensors":
        raise DomainError(f"run_self_test: `base` must be an ONNX file, which says what to compute; got {base}")
    inputs = self_test_inputs(tensors)
    if not inputs:
        raise _refused("the bundle must hold a self-test; it holds none (`lieref bundle create` says why)")
    merged = _merged(tensors, config, base)
    try:
        outputs, name = run(merged, config, inputs)
    except MissingExtraError:
        raise
    except Exception as error:  # a runtime raises what it likes
        raise _refused(f"the merged network must run; {_one_line(error)}") from error
    try:
        shares = check_self_test(tensors, outputs)
    except LierefError as error:
        raise _refused(f"{_one_line(error)}, by {name}") from error
    return Ran(name, max(shares.values()))


def _refused(why: str) -> BundleRefused:
    return BundleRefused("self-test", f"run_self_test: {why.removeprefix('check_self_test: ')}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _merged(tensors: Mapping[str, Array], config: Mapping[str, Any], base: Path) -> bytes:
    """Return the file of the merged network; with lieref's model alone where tensors are no initializers."""
    try:
        data = base.read_bytes()
    except OSError as error:
        raise DomainError(f"run_self_test: `base` must be readable; got {base}: {error.strerror}") from None
    try:
        return merged_file(data, merge_weights(tensors, config, decode_weights(data, str(base))), str(base))
    except UnsupportedError as error:
        if not _has_model():
            raise UnsupportedError(f"{error}; install it: pip install 'lieref[app]'") from None
    from lieref.adapter.model import load

    section = config["lieref"]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in encode_adapter(tensors, config).items():
            (Path(folder) / name).write_bytes(content)
        model = load(base, input_shapes=section.get("input_shapes"), padding_id=section.get("padding_id"))
        proto = model.load_adapter(folder).merge_and_unload().proto
    found: bytes = proto.SerializeToString()
    return found


_Outputs = tuple[dict[str, Array], str]


def _in_onnx_runtime(merged: bytes, config: Mapping[str, Any], inputs: Mapping[str, Array]) -> _Outputs:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(merged, options, providers=["CPUExecutionProvider"])
    given = {
        value.name: inputs[value.name].astype(_dtype(value.type)) for value in session.get_inputs()
        if value.name in inputs
    }  # fmt: skip
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True)), f"onnxruntime {onnxruntime.__version__}"


def _dtype(kind: str) -> str:
    """Return NumPy's name of ``tensor(float)``."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _in_lieref(merged: bytes, config: Mapping[str, Any], inputs: Mapping[str, Array]) -> _Outputs:
    import lieref
    from lieref.adapter.model import load

    section = config["lieref"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "merged.onnx"
        path.write_bytes(merged)
        model = load(path, input_shapes=section.get("input_shapes"), padding_id=section.get("padding_id"))
    model.engine = "direct"
    given = {info.name: inputs[info.name] for info in model.inputs}
    outputs = model.predict(given if len(given) > 1 else next(iter(given.values())))
    return {model.outputs[0]: outputs}, f"lieref {lieref.__version__}"


def _has_model() -> bool:
    return all(find_spec(name) is not None for name in ("numba", "scipy", "onnx"))


RUNTIMES: dict[str, tuple[Callable[[], bool], Callable[..., _Outputs]]] = {
    "onnxruntime": (lambda: find_spec("onnxruntime") is not None, _in_onnx_runtime),
    "lieref": (_has_model, _in_lieref),
}
"""Whether it is installed, and what runs the network in it; the first that is installed is taken."""


def _runtime(name: str | None) -> Callable[..., _Outputs]:
    if name is not None and name not in RUNTIMES:
        near = did_you_mean(name, RUNTIMES)
        raise DomainError(f"run_self_test: `runtime` must be one of {', '.join(RUNTIMES)}; got {name!r}{near}")
    for known, (there, run) in RUNTIMES.items():
        if name in (None, known) and there():
            return run
    raise MissingExtraError(
        f"running the self-test needs {name or 'onnxruntime, or numba, scipy and onnx'}, which is not installed; "
        "install one: pip install onnxruntime, or pip install 'lieref[app]'"
    )


def _updated(bundle: Path, base: Path) -> tuple[dict[str, Any], bytes]:
    """Return what the update in a folder says, and the base's file with it."""
    said = parse_update((bundle / JSON_NAME).read_bytes(), str(bundle / JSON_NAME))
    return said, apply_payload(read_payload(said, (bundle / BIN_NAME).read_bytes()), said, base.read_bytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the self-test of the bundle's folder and return the exit status."""
    import argparse

    parser = argparse.ArgumentParser(prog=PROGRAM, description="Run the self-test of a bundle.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="Its folder, verified before.")
    parser.add_argument("base", type=Path, metavar="BASE", help="The base's file.")
    known = dict.fromkeys([*RUNTIMES, *UPDATE_RUNTIMES])
    parser.add_argument("--runtime", choices=[*known], help="What runs it; by default the first installed.")
    options = parser.parse_args(arguments)
    try:
        if (options.bundle / JSON_NAME).is_file():
            name, compared = run_update_test(*_updated(options.bundle, options.base), runtime=options.runtime)
            print(f"self-test passed: {name}, {compared} of {compared} integers equal")
            return PASSED
        ran = run_self_test(*read_adapter(options.bundle), options.base, runtime=options.runtime)
    except BundleRefused as error:
        print(f"refused: {error.slug}")
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return REFUSED
    except LierefError as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return WRONG_USE
    except OSError as error:
        print(f"error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        return FAILED
    print(f"self-test passed: {ran.runtime}, at most {ran.of_bound:.3g} of the bound")
    return PASSED


if __name__ == "__main__":
    raise SystemExit(main())
