"""Small networks as one tool writes them, into this folder: see make.sh, which names the versions.

python make.py torch|sklearn|keras|jax|tensorflow|optimisers|quantisers|paddle
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

HERE = Path(__file__).parent
warnings.simplefilter("ignore")


def write(name, model):
    """The file of a message of ONNX, and what onnxruntime makes of inputs."""
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
    answer(HERE / f"{name}.onnx")


def answer(file, level="DISABLE_ALL"):
    """``x`` and each output that is a tensor of floats, beside the file; nothing where onnxruntime can't run it.

    Of the file itself goes only what names the folders of the machine that wrote it.
    """
    model = onnx.load(file, load_external_data=False)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    file.write_bytes(model.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.log_severity_level = 4
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        x = np.random.default_rng(0).random((4, *source.shape[1:])).astype(kinds[source.type])
        names = [output.name for output in session.get_outputs() if output.type in kinds]
        rows = [session.run(names, {source.name: row[None]}) for row in x]
    except Exception as error:  # what it raises has no base of its own
        print(f"{file.name}: no outputs: {str(error)[:200]}")
        return
    made = {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}
    np.savez(file.with_suffix(".npz"), x=x, **made)


def torch_network(torch):
    """A convolution with batch norm and dropout, a GELU, and three logits of 1x8x8 images."""
    torch.manual_seed(0)
    nn = torch.nn
    front = [nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(0.5)]
    return nn.Sequential(*front, nn.Flatten(), nn.Linear(64, 3))


def by_torch():
    import torch

    class Class(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 3)

        def forward(self, x):
            return self.layer(x).argmax(1)

    network, one, eight = torch_network(torch), torch.zeros(1, 1, 8, 8), torch.zeros(8, 1, 8, 8)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)

        def exported(name, network, x, **options):
            torch.onnx.export(network, (x,), "made.onnx", verbose=False, **options)
            write(name, onnx.load("made.onnx"))

        options = {"external_data": False}
        exported("torch-training", network.train(), one, **options)
        network.eval()
        exported("torch-fixed-batch", network, eight, **options)
        exported("torch-dynamic", network, eight, **options, dynamic_shapes=({0: "batch"},))
        names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
        exported("torch-legacy", network, one, dynamo=False, **names)
        binary = torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.Sigmoid()).eval()
        exported("torch-binary", binary, torch.zeros(1, 6), **options)
        exported("torch-argmax", Class().eval(), torch.zeros(1, 6), **options)
        file = HERE / "torch-argmax.onnx"
        nodes = onnx.load(file).graph.node
        (logits,) = (node.input[0] for node in nodes if node.op_type == "ArgMax")
        onnx.utils.extract_model(file, HERE / "torch-argmax-cut.onnx", [onnx.load(file).graph.input[0].name], [logits])
        answer(HERE / "torch-argmax-cut.onnx")
        os.chdir(HERE)
        torch.onnx.export(network, (one,), "torch-default.onnx", verbose=False)
        answer(HERE / "torch-default.onnx")


def by_sklearn():
    from skl2onnx import to_onnx
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import LinearSVC

    x = np.random.default_rng(0).random((200, 4)).astype(np.float32)
    three = (x[:, 0] > 0.5).astype(int) + (x[:, 1] > 0.6)
    two = (x[:, 0] + x[:, 1] > 1).astype(int)

    def put(name, model, labels, **options):
        write(name, to_onnx(model.fit(x, labels), x[:1], **options))

    def mlp():
        return MLPClassifier((8,), max_iter=100, random_state=0)

    plain = {"options": {"zipmap": False}}
    black_op = {"black_op": {"LinearClassifier", "Normalizer", "Scaler"}}
    put("sklearn-mlp-default", mlp(), three)
    put("sklearn-mlp", mlp(), three, **plain)
    put("sklearn-mlp-two", mlp(), two, **plain)
    put("sklearn-scaler", make_pipeline(StandardScaler(), mlp()), three, **plain)
    put("sklearn-pca", make_pipeline(MinMaxScaler(), PCA(3), mlp()), three, **plain)
    put("sklearn-logistic-default", LogisticRegression(), three, **plain)
    put("sklearn-logistic", LogisticRegression(), three, **plain, **black_op)
    put("sklearn-svc", LinearSVC(random_state=0), three)
    put("sklearn-regressor", MLPRegressor(hidden_layer_sizes=(8,), max_iter=100, random_state=0), x[:, 0])
    put("sklearn-forest", RandomForestClassifier(2, max_depth=2, random_state=0), three, **plain)


def by_keras():
    import keras
    from keras import layers

    backend = keras.backend.backend()

    def put(name, shape, *parts):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(shape), *parts])
        model(np.zeros((1, *shape), np.float32))  # one that was never called is not exported
        model.export(HERE / f"{name}.onnx", format="onnx", verbose=False)
        answer(HERE / f"{name}.onnx")

    pooled = (
        layers.Conv2D(4, 3, padding="same", activation="relu"), layers.BatchNormalization(), layers.MaxPooling2D(),
        layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax"),
    )  # fmt: skip
    put(f"keras-{backend}", (8, 8, 1), *pooled)
    if backend == "jax":
        put("keras-jax-norm", (6,), layers.Dense(8), layers.LayerNormalization(), layers.ReLU(), layers.Dense(3))
    else:
        put(f"keras-{backend}-binary", (6,), layers.Dense(8, activation="swish"), layers.Dense(1, activation="sigmoid"))


def by_jax():
    import jax
    from jax2onnx import to_onnx

    rng = np.random.default_rng(0)
    kernel, dense = (rng.normal(size=size).astype(np.float32) / 4 for size in ((3, 3, 1, 4), (64, 3)))

    def network(x):
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.gelu(x).reshape(x.shape[0], 4, 2, 4, 2, 4).max((2, 4))
        return jax.nn.log_softmax(x.reshape(x.shape[0], -1) @ dense)

    write("jax", to_onnx(network, [("B", 8, 8, 1)]))
    write("jax-fixed-batch", to_onnx(network, [(8, 8, 8, 1)]))


def by_tensorflow():
    import tensorflow as tf
    import tf2onnx

    rng = np.random.default_rng(0)
    # no tensors of TensorFlow: of those that a function captures tf2onnx makes inputs of the file
    kernel, dense = (rng.normal(size=size).astype(np.float32) / 4 for size in ((3, 3, 1, 4), (4, 3)))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="x")])
    def network(x):
        x = tf.nn.max_pool2d(tf.nn.elu(tf.nn.conv2d(x, kernel, 1, "SAME")), 2, 2, "VALID")
        return tf.nn.softmax(tf.reduce_mean(x, (1, 2)) @ dense)

    write("tf2onnx", tf2onnx.convert.from_function(network, input_signature=network.input_signature, opset=18)[0])


def by_optimisers():
    """Of one file by torch's older exporter."""
    import onnxsim
    import onnxslim
    import torch
    from onnxconverter_common import float16
    from onnxruntime.transformers.float16 import convert_float_to_float16

    network = torch_network(torch).eval()
    names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/source.onnx"
        torch.onnx.export(network, (torch.zeros(1, 1, 8, 8),), file, dynamo=False, opset_version=17, **names)
        write("onnxslim", onnxslim.slim(file))
        write("onnxsim", onnxsim.simplify(file)[0])
        write("float16", float16.convert_float_to_float16(onnx.load(file)))
        write("float16-keep-io", convert_float_to_float16(onnx.load(file), keep_io_types=True))
        write("float16-keep-io-onnxslim", onnxslim.slim(str(HERE / "float16-keep-io.onnx")))
        for level in ("BASIC", "EXTENDED", "ALL"):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
            options.optimized_model_filepath = str(HERE / f"onnxruntime-{level.lower()}.onnx")
            onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            answer(HERE / f"onnxruntime-{level.lower()}.onnx")


def by_quantisers():
    """Of the same network; what they write is run in integers, as onnxruntime does unless it is told not to."""
    import torch
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

    class Rows(CalibrationDataReader):
        def __init__(self):
            self.left = iter(np.random.default_rng(1).random((32, 1, 1, 8, 8)).astype(np.float32))

        def get_next(self):
            row = next(self.left, None)
            return None if row is None else {"x": row}

    network = torch_network(torch).eval()
    names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/source.onnx"
        torch.onnx.export(network, (torch.zeros(1, 1, 8, 8),), file, dynamo=False, opset_version=17, **names)
        for name, options in {
            "quantised-qdq": {"quant_format": QuantFormat.QDQ},
            "quantised-qdq-channel": {"quant_format": QuantFormat.QDQ, "per_channel": True},
            "quantised-qoperator": {"quant_format": QuantFormat.QOperator},
        }.items():
            quantize_static(file, HERE / f"{name}.onnx", Rows(), **options)
            answer(HERE / f"{name}.onnx", "ENABLE_ALL")
        quantize_dynamic(file, HERE / "quantised-dynamic.onnx")
        answer(HERE / "quantised-dynamic.onnx", "ENABLE_ALL")


def by_paddle():
    import paddle

    paddle.seed(0)
    nn = paddle.nn
    front = [nn.Conv2D(1, 4, 3, stride=2, padding=1), nn.BatchNorm2D(4), nn.ReLU()]
    network = nn.Sequential(*front, nn.Flatten(), nn.Linear(64, 3), nn.Softmax())
    network.eval()
    spec = paddle.static.InputSpec([None, 1, 8, 8], "float32", "x")
    paddle.onnx.export(network, str(HERE / "paddle2onnx"), input_spec=[spec], opset_version=13)
    answer(HERE / "paddle2onnx.onnx")


if __name__ == "__main__":
    globals()[f"by_{sys.argv[1]}"]()
