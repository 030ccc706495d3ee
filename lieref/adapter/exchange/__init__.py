"""Adapters of other libraries, read into lieref's and written from them.

A reader says what each module of a PyTorch network was given (`Foreign`); `names` finds the module in the ONNX file,
`fold` carries the change through a BatchNormalization that the exporter multiplied into the weight, and `build` makes
an ordinary adapter of the result, or refuses.
"""
