"""An ONNX network as PyTorch code, so that autograd can judge lieref's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


def torch_logits(torch: Any, proto: onnx.ModelProto, tensors: dict[str, Any], x: Any) -> Any:
    """Return the input of the final Softmax; `tensors` holds torch tensors by initializer name."""
    functional = torch.nn.functional
    values = {**tensors, proto.graph.input[0].name: x}
    for node in proto.graph.node:
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        args = [values[name] for name in node.input]
        if node.op_type == "Conv":
            top, left, bottom, right = attrs.get("pads", [0, 0, 0, 0])
            padded = functional.pad(args[0], (left, right, top, bottom))
            bias = args[2] if len(args) > 2 else None
            y = functional.conv2d(padded, args[1], bias, stride=attrs.get("strides", 1), groups=attrs.get("group", 1))
        elif node.op_type == "BatchNormalization":
            scale, shift, mean, var = (v[:, None, None] if args[0].ndim == 4 else v for v in args[1:])
            y = (args[0] - mean) / torch.sqrt(var + float(np.float32(attrs["epsilon"]))) * scale + shift
        elif node.op_type == "Relu":
            y = torch.relu(args[0])
        elif node.op_type == "Add":
            y = args[0] + args[1]
        elif node.op_type == "GlobalAveragePool":
            y = args[0].mean((2, 3), keepdim=True)
        elif node.op_type == "AveragePool":
            y = functional.avg_pool2d(args[0], attrs["kernel_shape"], attrs["strides"])
        elif node.op_type == "Flatten":
            y = args[0].flatten(1)
        elif node.op_type == "Gemm":
            y = args[0] @ args[1].T + args[2]
        elif node.op_type == "Softmax":
            return args[0]
        else:
            raise AssertionError(f"the twin does not know {node.op_type}")
        values[node.output[0]] = y
    return values[proto.graph.output[0].name]


def torch_tensors(torch: Any, proto: onnx.ModelProto) -> dict[str, Any]:
    return {
        t.name: torch.tensor(numpy_helper.to_array(t).astype(np.float64), requires_grad=True)
        for t in proto.graph.initializer
    }
