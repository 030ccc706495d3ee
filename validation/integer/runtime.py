"""The three sets of kernels of TFLite's runtime, by the name of their semantics."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

RESOLVERS = {
    "tflite-reference": "BUILTIN_REF",
    "tflite-optimised": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "xnnpack": "BUILTIN",
}


def interpreter(content: bytes, how: str, keep: bool = False) -> Any:
    """Return an interpreter of one thread."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=keep,
            experimental_op_resolver_type=getattr(OpResolverType, RESOLVERS[how]),
        )
        made.allocate_tensors()
    return made


def run(content: bytes, x: Any, how: str) -> np.ndarray:
    """Return the outputs of a network for samples, one by one."""
    made = interpreter(content, how)
    first, last = made.get_input_details()[0]["index"], made.get_output_details()[0]["index"]
    results = []
    for sample in x:
        made.set_tensor(first, sample[None])
        made.invoke()
        results.append(made.get_tensor(last))
    return np.concatenate(results)


def run_all(content: bytes, fed: list[Any], how: str) -> dict[int, np.ndarray]:
    """Return every tensor that can be read after one run, by its index in the file; inputs in their order."""
    made = interpreter(content, how, keep=True)
    for detail, x in zip(made.get_input_details(), fed, strict=True):
        made.set_tensor(detail["index"], x)
    made.invoke()
    tensors = {}
    for detail in made.get_tensor_details():
        try:
            tensors[detail["index"]] = made.get_tensor(detail["index"]).copy()
        except ValueError:  # a tensor that this run does not hold
            continue
    return tensors
