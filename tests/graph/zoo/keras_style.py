"""What converters write of Keras networks: NHWC with Transposes at the head, MatMul and Add, pieces."""

from typing import Any

from tests.graph.zoo.entry import Handmade
from tests.graph.zoo.writer import Writer

NHWC = (16, 16, 3)
SAME: dict[str, Any] = {"auto_pad": "SAME_UPPER"}


def first(writer: Writer) -> str:
    """NHWC to NCHW, as tf2onnx does it before the first convolution."""
    return writer.op("Transpose", writer.input, perm=[0, 3, 1, 2])


def flattened(writer: Writer, x: str, size: int) -> str:
    """Back to NHWC, then Keras' Flatten."""
    x = writer.op("Transpose", x, perm=[0, 2, 3, 1])
    return writer.op("Reshape", x, writer.integers(-1, size))


def pooled(writer: Writer, x: str) -> str:
    """GlobalAveragePooling2D: a mean over two axes, the axes an attribute until 17."""
    if writer.opset < 18:
        return writer.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    return writer.op("ReduceMean", x, writer.integers(2, 3), keepdims=0)


def dense_network(opset: int) -> bytes:
    w = Writer((20,), opset)
    x = w.op("Relu", w.dense(w.input, 20, 16))
    x = w.op("Tanh", w.dense(x, 16, 16))
    return w.file(w.op("Softmax", w.dense(x, 16, 5), axis=1))


def mnist(opset: int) -> bytes:
    """The tutorial's network: Flatten by a Reshape with a batch computed from the shape."""
    w = Writer((12, 12, 1), opset)
    batch = w.op("Slice", w.op("Shape", w.input), w.integers(0), w.integers(1), w.integers(0))
    size = w.op("Concat", batch, w.integers(144), axis=0)
    x = w.op("Relu", w.dense(w.op("Reshape", w.input, size), 144, 16))
    return w.file(w.dense(x, 16, 10))


def convolutional(opset: int) -> bytes:
    w = Writer(NHWC, opset)
    x = w.op("Relu", w.conv(first(w), 3, 8, strides=[2, 2], **SAME))
    x = w.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="VALID")
    x = w.op("Relu", w.conv(x, 8, 8, auto_pad="VALID"))
    return w.file(w.dense(flattened(w, x, 32), 32, 5))


def transposes_everywhere(opset: int) -> bytes:
    """Each layer between two Transposes, as an unoptimised conversion leaves them."""
    w = Writer(NHWC, opset)
    x, channels = w.input, 3
    for width in (6, 8):
        x = w.conv(w.op("Transpose", x, perm=[0, 3, 1, 2]), channels, width, pads=[1, 1, 1, 1])
        x = w.op("Relu", w.op("Transpose", x, perm=[0, 2, 3, 1]))
        x = w.op("AveragePool", w.op("Transpose", x, perm=[0, 3, 1, 2]), kernel_shape=[2, 2], strides=[2, 2])
        x = w.op("Transpose", x, perm=[0, 2, 3, 1])
        channels = width
    x = (
        w.op("ReduceMean", x, axes=[1, 2], keepdims=0)
        if opset < 18
        else w.op("ReduceMean", x, w.integers(1, 2), keepdims=0)
    )
    return w.file(w.dense(x, 8, 5))


def residual(opset: int) -> bytes:
    """Rescaling, ZeroPadding2D, batch norm as Mul and Add, residual sums."""
    w = Writer(NHWC, opset)
    x = w.op("Sub", w.op("Mul", w.input, w.constant(1 / 127.5)), w.constant(1.0))
    x = w.op("Transpose", x, perm=[0, 3, 1, 2])
    x = w.op("Pad", x, w.integers(0, 0, 1, 1, 0, 0, 1, 1), w.constant(0.0))
    x = w.conv(x, 3, 8, strides=[2, 2])
    for _ in range(2):
        scale, shift = (
            w.constant(w.random.uniform(0.5, 1.5, (1, 8, 1, 1))),
            w.constant(w.random.normal(size=(1, 8, 1, 1))),
        )
        y = w.op("Relu", w.op("Add", w.op("Mul", x, scale), shift))
        x = w.op("Add", x, w.batch_norm(w.conv(y, 8, 8, pads=[1, 1, 1, 1]), 8, epsilon=1e-3))
    return w.file(w.dense(pooled(w, w.op("Relu", x)), 8, 5))


def mobilenet(opset: int) -> bytes:
    """Depthwise convolutions, ReLU6 as Min and Max."""
    w = Writer(NHWC, opset)
    x = w.conv(first(w), 3, 8, strides=[2, 2], **SAME)
    for stride in (1, 2):
        x = w.op("Min", w.op("Max", w.batch_norm(x, 8, epsilon=1e-3), w.constant(0.0)), w.constant(6.0))
        x = w.conv(x, 8, 8, group=8, strides=[stride, stride], **SAME)
        x = w.op("Clip", w.batch_norm(x, 8, epsilon=1e-3), w.constant(0.0), w.constant(6.0))
        x = w.conv(x, 8, 8, 1)
    x = w.op("GlobalAveragePool", x)
    return w.file(w.dense(w.op("Squeeze", x, w.integers(2, 3)), 8, 5))


def separable(opset: int) -> bytes:
    """Xception: separable convolutions, swish as Sigmoid and Mul, a strided shortcut."""
    w = Writer(NHWC, opset)
    x = w.conv(first(w), 3, 8, strides=[2, 2], **SAME)
    y = x
    for _ in range(2):
        y = w.op("Mul", y, w.op("Sigmoid", y))
        y = w.conv(w.conv(y, 8, 8, group=8, **SAME), 8, 8, 1)
    y = w.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], **SAME)
    x = w.op("Add", y, w.conv(x, 8, 8, 1, strides=[2, 2], **SAME))
    return w.file(w.dense(pooled(w, x), 8, 5))


def conv1d(opset: int) -> bytes:
    """Conv1D as a 2-D convolution between Unsqueeze and Squeeze, causal padding."""
    w = Writer((24, 4), opset)
    x = w.op("Pad", w.input, w.integers(0, 2, 0, 0, 0, 0))
    x = w.op("Transpose", x, perm=[0, 2, 1])
    x = w.op("Unsqueeze", x, w.integers(2))
    x = w.op("Conv", x, w.weight(8, 4, 1, 3), w.vector(8))
    x = w.op("LeakyRelu", w.op("Squeeze", x, w.integers(2)), alpha=0.2)
    x = w.op("ReduceMax", x, axes=[2], keepdims=0) if opset < 18 else w.op("ReduceMax", x, w.integers(2), keepdims=0)
    return w.file(w.dense(x, 8, 5))


def layer_normalised(opset: int) -> bytes:
    """LayerNormalization in pieces: Mean, Sub, Mul, Mean, Add, Sqrt, Reciprocal, Mul."""
    w = Writer((10,), opset)

    def mean(x: str) -> str:
        return (
            w.op("ReduceMean", x, axes=[-1], keepdims=1)
            if opset < 18
            else w.op("ReduceMean", x, w.integers(-1), keepdims=1)
        )

    x = w.dense(w.input, 10, 16)
    centred = w.op("Sub", x, mean(x))
    variance = mean(w.op("Mul", centred, centred))
    inverse = w.op("Reciprocal", w.op("Sqrt", w.op("Add", variance, w.constant(1e-3))))
    x = w.op("Add", w.op("Mul", centred, w.op("Mul", inverse, w.vector(16, 0.5, 1.5))), w.vector(16))
    return w.file(w.dense(w.op("Relu", x), 16, 5))


def gelu_network(opset: int) -> bytes:
    """GELU of Keras, exact (with Erf) and approximate (Pow), as tensors of rank 0."""
    w = Writer((10,), opset)
    x = w.dense(w.input, 10, 16)
    gate = w.op("Add", w.op("Erf", w.op("Mul", x, w.constant(0.70710678))), w.constant(1.0))
    x = w.dense(w.op("Mul", w.op("Mul", w.constant(0.5), x), gate), 16, 16)
    inner = w.op("Add", x, w.op("Mul", w.op("Pow", x, w.constant(3.0)), w.constant(0.044715)))
    gate = w.op("Add", w.constant(1.0), w.op("Tanh", w.op("Mul", w.constant(0.7978846), inner)))
    return w.file(w.dense(w.op("Mul", w.op("Mul", w.constant(0.5), x), gate), 16, 5))


def attention(opset: int) -> bytes:
    """MultiHeadAttention by Einsum-free pieces: Reshape to heads, MatMul, Softmax, MatMul."""
    w = Writer((6, 8), opset)
    heads = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        x = w.op("Reshape", w.dense(w.input, 8, 8), w.integers(0, 6, 2, 4))
        heads.append(w.op("Transpose", x, perm=perm))
    scores = w.op("Mul", w.op("MatMul", heads[0], heads[1]), w.constant(0.5))
    x = w.op("MatMul", w.op("Softmax", scores, axis=-1), heads[2])
    x = w.op("Reshape", w.op("Transpose", x, perm=[0, 2, 1, 3]), w.integers(0, 6, 8))
    x = w.op("Reshape", w.op("Add", x, w.input), w.integers(-1, 48))
    return w.file(w.dense(x, 48, 5))


def squeeze_excite(opset: int) -> bytes:
    """EfficientNet's gate, keeping dimensions through a Reshape to (batch, 1, 1, channels) in NHWC."""
    w = Writer(NHWC, opset)
    x = w.conv(first(w), 3, 8, strides=[2, 2], **SAME)
    y = w.op("Reshape", pooled(w, x), w.integers(-1, 8, 1, 1))
    y = w.conv(w.op("Relu", w.conv(y, 8, 2, 1)), 2, 8, 1)
    x = w.op("Mul", x, w.op("Sigmoid", y))
    return w.file(w.dense(pooled(w, x), 8, 5))


def swish_network(opset: int) -> bytes:
    """Keras' default of `silu`: one operator since opset 24; and attention, in one operator too."""
    w = Writer((6, 8), opset)

    def silu(x: str, alpha: float) -> str:
        if opset >= 24:
            return w.op("Swish", x, alpha=alpha)
        return w.op("Mul", x, w.op("Sigmoid", w.op("Mul", x, w.constant(alpha))))

    x = silu(w.dense(w.input, 8, 8), 1.0)
    x = w.op("Add", x, w.op("Attention", x, x, x, q_num_heads=2, kv_num_heads=2, is_causal=1))
    x = silu(w.dense(w.op("Reshape", x, w.integers(-1, 48)), 48, 16), 1.702)
    return w.file(w.dense(x, 16, 5))


NETWORKS = [
    Handmade("MLP", "keras_dense", dense_network, (20,), (13, 18)),
    Handmade("MLP", "keras_mnist", mnist, (12, 12, 1), (15,)),
    Handmade("MLP", "keras_layer_norm", layer_normalised, (10,), (13, 18)),
    Handmade("MLP", "keras_gelu", gelu_network, (10,), (14, 23)),
    Handmade("LeNet", "keras_cnn", convolutional, NHWC, (13, 19)),
    Handmade("LeNet", "keras_transposes", transposes_everywhere, NHWC, (15, 21)),
    Handmade("ResNet", "keras_resnet", residual, NHWC, (17, 22, 26)),
    Handmade("MobileNetV1", "keras_mobilenet", mobilenet, NHWC, (16,)),
    Handmade("Xception", "keras_xception", separable, NHWC, (14, 20)),
    Handmade("TCN", "keras_conv1d", conv1d, (24, 4), (13, 18)),
    Handmade("Transformer", "keras_attention", attention, (6, 8), (17,)),
    Handmade("Transformer", "keras_swish", swish_network, (6, 8), (23, 24)),
    Handmade("EfficientNet", "keras_squeeze_excite", squeeze_excite, NHWC, (18,)),
]
