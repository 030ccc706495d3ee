"""Networks: graphs of operators read from ONNX, adapters attached to them, and their gradients."""
