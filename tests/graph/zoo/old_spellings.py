"""Opsets 8 to 12, where axes, pads, steps, ratios and bounds are attributes and Softmax flattens."""

from typing import Any

from tests.graph.zoo.entry import Handmade
from tests.graph.zoo.writer import Writer

IMAGE = (3, 16, 16)


def perceptron(opset: int) -> bytes:
    """Gemm on constants listed among the inputs (8), Dropout with a ratio, Softmax with axis 1."""
    w = Writer((10,), opset, name="data")
    x = w.op("Relu", w.gemm(w.input, 10, 16))
    x = w.op("Dropout", x, ratio=0.5) if opset < 12 else w.op("Dropout", x, w.constant(0.5))
    return w.file(w.op("Softmax", w.gemm(x, 16, 5), axis=1))


def vgg(opset: int) -> bytes:
    """The model zoo's VGG: Conv, BatchNormalization, MaxPool with pads, Flatten, Gemm, Dropout."""
    w = Writer(IMAGE, opset, name="data", batch=1)
    x, channels = w.input, 3
    for width in (6, 8):
        x = w.conv(
            x, channels, width, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1], group=1
        )
        x = w.op("Relu", w.batch_norm(x, width, epsilon=1e-5, momentum=0.9))
        x = w.op("MaxPool", x, kernel_shape=[2, 2], pads=[0, 0, 0, 0], strides=[2, 2])
        channels = width
    x = w.op("Flatten", x)
    x = w.op("Relu", w.gemm(x, 128, 16))
    x = w.op("Dropout", x, ratio=0.5) if opset < 12 else w.op("Dropout", x)
    return w.file(w.gemm(x, 16, 5))


def squeezenet(opset: int) -> bytes:
    """Fire modules, global pooling, a Softmax that flattens four axes into two, a Reshape."""
    w = Writer(IMAGE, opset)
    x = w.op("Relu", w.conv(w.input, 3, 8, strides=[2, 2]))
    x = w.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = w.op("Relu", w.conv(x, 8, 4, 1))
    wide = [w.op("Relu", w.conv(x, 4, 4, 1)), w.op("Relu", w.conv(x, 4, 4, pads=[1, 1, 1, 1]))]
    x = w.op("Relu", w.conv(w.op("Concat", *wide, axis=1), 8, 5, 1))
    x = w.op("Softmax", w.op("GlobalAveragePool", x))
    return w.file(w.op("Reshape", x, w.integers(0, -1)))


def alexnet(opset: int) -> bytes:
    """LRN, grouped convolution, average pooling that counts its padding, LogSoftmax."""
    w = Writer(IMAGE, opset)
    x = w.op("LRN", w.op("Relu", w.conv(w.input, 3, 8, pads=[1, 1, 1, 1])), size=5, alpha=1e-2, beta=0.75, bias=1.0)
    x = w.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], count_include_pad=1)
    x = w.op("Relu", w.conv(x, 8, 8, group=2))
    x = w.op("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 1, 1], strides=[2, 2])
    return w.file(w.op("LogSoftmax", w.gemm(w.op("Flatten", x, axis=1), 128, 5), axis=1))


def mobilenet(opset: int) -> bytes:
    """ReLU6 by Clip and Pad with attributes (inputs since 11), a mean and a Squeeze with axes."""
    w = Writer(IMAGE, opset)

    def relu6(x: str) -> str:
        return w.op("Clip", x, min=0.0, max=6.0) if opset < 11 else w.op("Clip", x, w.constant(0.0), w.constant(6.0))

    pads = [0, 0, 0, 0, 0, 0, 1, 1]
    x = (
        w.op("Pad", w.input, mode="constant", pads=pads, value=0.0)
        if opset < 11
        else w.op("Pad", w.input, w.integers(*pads))
    )
    x = relu6(w.conv(x, 3, 8, strides=[2, 2]))
    x = relu6(w.batch_norm(w.conv(x, 8, 8, group=8, pads=[1, 1, 1, 1]), 8))
    x = w.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    return w.file(w.gemm(w.op("Squeeze", x, axes=[2, 3]), 8, 5))


def shufflenet(opset: int) -> bytes:
    """Split with sizes, Slice with starts and ends (inputs since 10), channels shuffled by Reshape and Transpose."""
    w = Writer(IMAGE, opset)
    x = w.op("Relu", w.conv(w.input, 3, 8, strides=[2, 2]))
    left = w.op("Split", x, outputs=2, axis=1, split=[4, 4])
    right = w.op("Relu", w.conv(f"{left}_1", 4, 4, 1))
    x = w.op("Reshape", w.op("Concat", left, right, axis=1), w.integers(-1, 2, 4, 7, 7))
    x = w.op("Reshape", w.op("Transpose", x, perm=[0, 2, 1, 3, 4]), w.integers(-1, 8, 7, 7))
    if opset < 10:
        x = w.op("Slice", x, axes=[1, 2], starts=[1, 0], ends=[9223372036854775807, -1])
    else:
        x = w.op("Slice", x, w.integers(1, 0), w.integers(2**63 - 1, -1), w.integers(1, 2), w.integers(1, 1))
    x = w.op("ReduceSum", x, axes=[2, 3], keepdims=0)
    return w.file(w.gemm(x, 7, 5))


def upsampling(opset: int) -> bytes:
    """Upsample (Resize since 10), nearest, and a transposed convolution."""
    w = Writer((3, 8, 8), opset)
    x = w.op("Relu", w.conv(w.input, 3, 6, strides=[2, 2], pads=[1, 1, 1, 1]))
    scales = w.constant([1, 1, 2, 2])
    if opset < 10:
        x = (
            w.op("Upsample", x, scales, mode="nearest")
            if opset > 8
            else w.op("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0])
        )
    elif opset == 10:
        x = w.op("Resize", x, scales, mode="nearest")
    else:
        x = w.op(
            "Resize",
            x,
            w.constant([]),
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    if opset == 8:
        del w.constants[scales]
    x = w.op("ConvTranspose", x, w.weight(6, 4, 2, 2), w.vector(4), strides=[2, 2])
    return w.file(w.gemm(w.op("Flatten", w.op("GlobalMaxPool", x)), 4, 5))


def activations(opset: int) -> bytes:
    """Elu, Selu, LeakyRelu, PRelu, Softplus, Softsign, HardSigmoid, ThresholdedRelu (10) in a row."""
    w = Writer((10,), opset)
    x = w.input
    named: list[tuple[str, dict[str, Any]]] = [
        ("Elu", {"alpha": 0.7}),
        ("Selu", {}),
        ("LeakyRelu", {"alpha": 0.1}),
        ("Softplus", {}),
        ("Softsign", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    ]
    for name, attributes in named:
        x = w.op(name, w.gemm(x, 10, 10), **attributes)
    x = w.op("PRelu", w.gemm(x, 10, 10), w.vector(10, 0.0, 0.5))
    x = w.op("Sum", x, w.input, w.op("Neg", w.op("Abs", x)))
    return w.file(w.gemm(w.op("Max", x, w.constant(-1.0)), 10, 5))


def matrix_chain(opset: int) -> bytes:
    """Constants made by Constant nodes, Unsqueeze and Concat of the shape, MatMul with a bias by broadcast."""
    from onnx import numpy_helper

    w = Writer((2, 3, 4), opset)
    batch = w.op("Gather", w.op("Shape", w.input), w.constant(0, int), axis=0)
    end = w.op("Constant", value=numpy_helper.from_array(w.random.integers(24, 25, 1)))
    shape = w.op("Concat", w.op("Unsqueeze", batch, axes=[0]), end, axis=0)
    x = w.op("Reshape", w.input, shape)
    x = w.op("Tanh", w.dense(x, 24, 12))
    x = w.op("Identity", w.op("Cast", x, to=1))
    return w.file(w.dense(x, 12, 5))


def sorted_groups(opset: int) -> bytes:
    """TopK, k an attribute until 9."""
    w = Writer((10,), opset)
    x = w.op("Reshape", w.gemm(w.input, 10, 16), w.integers(-1, 4, 4))
    x = w.op("TopK", x, outputs=2, axis=2, k=4) if opset < 10 else w.op("TopK", x, w.integers(4), outputs=2, axis=2)
    return w.file(w.gemm(w.op("Flatten", x), 16, 5))


def acasxu(opset: int) -> bytes:
    """The verification benchmark: batch fixed, (1, 1, 5) input, Sub, Flatten, MatMul, Add, Relu."""
    w = Writer((1, 1, 5), opset, batch=1)
    x = w.op("Flatten", w.op("Sub", w.input, w.constant(w.random.normal(size=(1, 1, 1, 5)))), axis=1)
    for n_in, n_out in ((5, 12), (12, 12)):
        x = w.op("Relu", w.op("Add", w.op("MatMul", x, w.weight(n_in, n_out)), w.vector(n_out)))
    return w.file(w.dense(x, 12, 5))


def instance_norm(opset: int) -> bytes:
    w = Writer(IMAGE, opset)
    x = w.conv(w.input, 3, 8, strides=[2, 2])
    x = w.op("InstanceNormalization", x, w.vector(8, 0.5, 1.5), w.vector(8), epsilon=1e-5)
    return w.file(w.gemm(w.op("Flatten", w.op("GlobalAveragePool", w.op("Relu", x))), 8, 5))


NETWORKS = [
    Handmade("MLP", "old_perceptron", perceptron, (10,), (8, 9, 12)),
    Handmade("VGG", "old_vgg", vgg, IMAGE, (8, 10, 12), dynamic=False),
    Handmade("SqueezeNet", "old_squeezenet", squeezenet, IMAGE, (8, 11)),
    Handmade("AlexNet", "old_alexnet", alexnet, IMAGE, (9, 12)),
    Handmade("MobileNetV1", "old_mobilenet", mobilenet, IMAGE, (8, 11)),
    Handmade("ShuffleNet", "old_shufflenet", shufflenet, IMAGE, (9, 11)),
    Handmade("Upsampling", "old_upsample", upsampling, (3, 8, 8), (8, 9, 10, 11)),
    Handmade("MLP", "old_activations", activations, (10,), (8, 12)),
    Handmade("MLP", "old_constants", matrix_chain, (2, 3, 4), (9, 12)),
    Handmade("GroupSort", "old_topk", sorted_groups, (10,), (8, 10, 12)),
    Handmade("ACAS Xu", "old_acasxu", acasxu, (1, 1, 5), (8, 11), dynamic=False),
    Handmade("Instance norm", "old_instance_norm", instance_norm, IMAGE, (8, 12)),
]
