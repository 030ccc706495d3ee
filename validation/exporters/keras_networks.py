"""Networks of Keras as tf2onnx writes them, in an environment that has both.

    python -m validation.exporters.keras_networks FOLDER

writes a file a network, for any number of samples; `python -m validation.exporters --keras FOLDER` asks about them
where lieref is. Keras holds images as (height, width, channels), so that tf2onnx puts a Transpose before and after.
Weights are random, and the statistics of the normalisations those of random samples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers

Symbol = Any
OPSET = 17
VOCABULARY = 100


def mlp() -> Any:
    x = given = keras.Input((13,))
    for width in (24, 16):
        x = layers.BatchNormalization()(layers.Dense(width, activation="relu")(x))
    return keras.Model(given, layers.Dense(5, activation="softmax")(layers.Dropout(0.3)(x)))


def _convolution(x: Symbol, channels: int, stride: int = 1, act: bool = True) -> Symbol:
    x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if act else x


def resnet() -> Any:
    """Return residual blocks; a stride of 2 with padding "same" pads more on one side."""
    given = keras.Input((19, 17, 3))
    x = _convolution(given, 8)
    for channels, stride in ((8, 1), (12, 2)):
        y = _convolution(_convolution(x, channels, stride), channels, act=False)
        if stride > 1:
            x = layers.BatchNormalization()(layers.Conv2D(channels, 1, strides=stride, use_bias=False)(x))
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(given, layers.Dense(7)(layers.GlobalAveragePooling2D()(x)))


def mobilenet() -> Any:
    given = keras.Input((20, 18, 3))
    x = layers.ReLU(6.0)(_convolution(given, 8, 2, act=False))
    for channels, stride in ((12, 1), (16, 2)):
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(channels, 1, use_bias=False)(x)))
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.Model(given, layers.Flatten()(layers.Conv2D(6, 1)(layers.Dropout(0.1)(x))))


def separable() -> Any:
    given = keras.Input((18, 14, 3))
    x = layers.SeparableConv2D(8, 3, activation="swish", padding="same", depth_multiplier=2)(given)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    x = layers.SeparableConv2D(10, 3, activation="leaky_relu", padding="valid")(x)
    x = layers.Dropout(0.2)(layers.AveragePooling2D(2)(x))
    return keras.Model(given, layers.Dense(5, activation="softmax")(layers.Flatten()(x)))


def signal() -> Any:
    given = keras.Input((33, 4))
    x = layers.Conv1D(8, 5, padding="same", activation="relu")(given)
    x = layers.MaxPooling1D(2)(x)
    x = layers.Conv1D(12, 3, dilation_rate=2, padding="causal", activation="elu")(x)
    return keras.Model(given, layers.Dense(5)(layers.GlobalMaxPooling1D()(x)))


def gru() -> Any:
    x = given = keras.Input((9, 6))
    x = layers.GRU(8, return_sequences=True)(x)
    return keras.Model(given, layers.Dense(5)(layers.GRU(7, reset_after=False)(x)))


def lstm() -> Any:
    given = keras.Input((9, 6))
    x = layers.Bidirectional(layers.LSTM(7))(given)
    return keras.Model(given, layers.Dense(5, activation="softmax")(x))


def text() -> Any:
    """Return one block of a transformer encoder, the norms after; tf2onnx has no Erfc, which the exact Gelu is."""
    given = keras.Input((11,), dtype="int32")
    x = layers.Embedding(VOCABULARY, 12)(given)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(3, 4)(x, x))
    y = layers.Dense(12)(layers.Dense(20, activation=partial(keras.activations.gelu, approximate=True))(x))
    x = layers.LayerNormalization(epsilon=1e-6)(x + y)
    return keras.Model(given, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


def _unet(up: Callable[[Symbol, int], Symbol]) -> Any:
    given = keras.Input((16, 12, 3))
    skips, x = [], given
    for channels in (6, 8):
        x = _convolution(x, channels)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = _convolution(x, 10)
    for channels in (8, 6):
        x = layers.Concatenate()([up(x, channels), skips.pop()])
        x = _convolution(x, channels)
    return keras.Model(given, layers.Conv2D(4, 1, activation="sigmoid")(x))


def unet_upsampling() -> Any:
    return _unet(lambda x, _: layers.UpSampling2D(2, interpolation="bilinear" if x.shape[1] == 4 else "nearest")(x))


def unet_transposed() -> Any:
    return _unet(lambda x, channels: layers.Conv2DTranspose(channels, 3, strides=2, padding="same")(x))


def two_outputs() -> Any:
    given = keras.Input((14, 10, 3))
    x = layers.GlobalAveragePooling2D()(_convolution(_convolution(given, 6, 2), 8))
    return keras.Model(given, [layers.Dense(5, name="kind")(x), layers.Dense(2, activation="tanh", name="place")(x)])


def two_inputs() -> Any:
    image, numbers = keras.Input((14, 10, 3)), keras.Input((7,))
    x = layers.Flatten()(layers.MaxPooling2D(2)(_convolution(image, 6)))
    x = layers.Concatenate()([layers.Dense(8, activation="relu")(x), layers.Dense(9, activation="tanh")(numbers)])
    return keras.Model([image, numbers], layers.Dense(5, activation="softmax")(x))


NETWORKS: dict[str, Callable[[], Any]] = {
    "MLP, BatchNormalization": mlp,
    "ResNet, NHWC": resnet,
    "MobileNet, ReLU6": mobilenet,
    "separable CNN, swish": separable,
    "1-D CNN, causal": signal,
    "GRU": gru,
    "bidirectional LSTM": lstm,
    "text classifier, MultiHeadAttention": text,
    "U-Net, UpSampling2D": unet_upsampling,
    "U-Net, Conv2DTranspose": unet_transposed,
    "two outputs": two_outputs,
    "two inputs": two_inputs,
}


def _apply(model: Any, inputs: Sequence[Any], training: bool) -> Any:
    return model(list(inputs) if len(inputs) > 1 else inputs[0], training=training)


def network(name: str) -> Any:
    """Return a network for inference, its normalisations with the statistics of random samples."""
    keras.utils.set_random_seed(len(name))
    model = NETWORKS[name]()
    for norm in (each for each in model.layers if isinstance(each, layers.BatchNormalization)):
        norm.momentum = 0.0
    rng = np.random.default_rng(len(name))
    for vector in (each for each in model.trainable_weights if each.path.endswith(("bias", "beta", "gamma"))):
        vector.assign_add(0.2 * rng.standard_normal(vector.shape))  # not zeros or ones, which tf2onnx leaves out
    _apply(model, [rng.standard_normal((64, *x.shape[1:])).astype(x.dtype) for x in model.inputs], training=True)
    return model


def write(name: str, path: Path) -> None:
    """Write a network for any number of samples."""
    model = network(name)
    signature = [tf.TensorSpec((None, *x.shape[1:]), x.dtype, name=f"x{i}") for i, x in enumerate(model.inputs)]

    @tf.function(input_signature=signature)
    def inference(*inputs: Any) -> Any:
        return _apply(model, inputs, training=False)

    tf2onnx.convert.from_function(inference, input_signature=signature, opset=OPSET, output_path=str(path))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        write(name, folder / f"{name}.onnx")
