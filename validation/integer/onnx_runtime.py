"""ONNX Runtime on quantised files: as it comes, without optimisation, and with exact products on older processors.

Processors without VNNI multiply uint8 by int8 in pairs whose sum is cut to 16 bits, and at its highest level of
optimisation ONNX Runtime makes activations of QDQ files uint8. A session option, "session.x64quantprecision", has it
compute exactly, as newer processors do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref.model.integer.graph import IntegerGraph

LEVELS = {"all": "ORT_ENABLE_ALL", "none": "ORT_DISABLE_ALL"}
"""Levels of optimisation."""


def session(content: bytes, level: str = "all", *, exact: bool = False) -> Any:
    """Return a session of one thread on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def shown(content: bytes, graph: IntegerGraph) -> bytes:
    """Return the file with every tensor that lieref computes, and that the file names, as an output."""
    import onnx

    proto = onnx.load_from_string(content)
    written = {name for node in proto.graph.node for name in node.output}
    already = {value.name for value in proto.graph.output}
    for node in graph.nodes:
        name = node.outputs[0]
        if name in written - already:
            kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(graph.tensors[name].dtype))
            proto.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
            already.add(name)
    return bytes(proto.SerializeToString())


def values(made: Any, fed: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return every output of a session by name."""
    return dict(zip([each.name for each in made.get_outputs()], made.run(None, fed), strict=True))
