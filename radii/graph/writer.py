"""A graph as an ONNX file again, for other programs to run: our own spelling of what was checked, not what came.

Most operators can write themselves, not all. onnx is imported when it is called.
"""

from radii.graph.ir import Graph
from radii.graph.pen import Pen, Unwritable

OPSET = 20
MOST_BYTES = 2**31 - 2**20  # of a protobuf


def write_onnx(graph: Graph) -> bytes:
    """A file in float32 with the open-batch input ``x`` and the output ``y``. Raises :class:`Unwritable`."""
    from onnx import TensorProto, helper

    if 4 * sum(array.size for node in graph.nodes for array in node.operator.arrays().values()) > MOST_BYTES:
        raise Unwritable("its constants do not fit one file")
    pen = Pen()
    name = {value: f"v{value}" for value in graph.shapes} | {graph.input: "x"}
    for node in graph.nodes:
        xs, out = [name[value] for value in node.inputs], name[node.output]
        node.operator.write(pen, xs, out, graph.input_shapes(node))
    pen.node("Identity", [name[graph.output]], "y")
    float32 = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", float32, ["batch", *graph.input_shape])]
    outputs = [helper.make_tensor_value_info("y", float32, ["batch", graph.num_classes])]
    whole = helper.make_graph(pen.nodes, "radii", inputs, outputs, pen.constants)
    proto = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    data: bytes = proto.SerializeToString()
    return data
