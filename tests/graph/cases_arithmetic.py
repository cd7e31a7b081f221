"""Refusals: activations, comparisons, reductions, normalisations, products."""

import numpy as np

from tests.graph.case import VECTOR, Case, floats, ints, number

MASK = np.arange(4 * 9 * 8).reshape(4, 9, 8) % 3 == 0

BAD: list[Case] = [
    Case("ThresholdedRelu", {"alpha": float("nan")}),
    Case("MatMul", inputs=("x", floats(3, 8, 3))),
    Case("MatMul", inputs=("x", floats(4, 7, 3))),
    Case("MatMul", inputs=(floats(3, 4, 5, 9), "x")),
    Case("Shrink", {"bias": float("inf")}),
    Case("Greater", inputs=("x", floats(3, 4, 9, 8))),
    Case("Where", inputs=(np.ones((3, 4, 9, 8), bool), "x", number(1.0))),
    Case("Where", inputs=(ints(1), "x", number(1.0))),
    Case("Where", inputs=(MASK, "x", ints(1))),
    Case("Where", inputs=(MASK, "x", number(-np.inf))),
    Case("Where", inputs=(MASK, "x")),
    Case("Max", inputs=("x", "", "r")),
    Case("Min", inputs=("x", floats(3, 4, 9, 8))),
    Case("ReduceSum"),
    Case("ReduceL2", {"noop_with_empty_axes": 1}),
    Case("ReduceL2", {"axes": [0, 1]}, opset=13),
    Case("ReduceMax", {"axes": [1], "keepdims": 2}, opset=13),
    Case("ReduceSum", {"noop_with_empty_axes": -1}, ("x", ints()), opset=13),
    Case("GlobalMaxPool", shape=VECTOR),
    Case("TopK", {"k": 9}, opset=8, outputs=2),
    Case("TopK", {"axis": 0}, ("x", ints(1)), outputs=2),
    Case("TopK", {"sorted": 0}, ("x", ints(3)), outputs=2),
    Case("TopK", inputs=("x", ints(1, 2)), outputs=2),
    Case("TopK", inputs=("x", ints(3)), outputs=2, output=1),
    Case("LogSoftmax", {"axis": 0}),
    Case("InstanceNormalization", inputs=("x", floats(3), floats(4))),
    Case("InstanceNormalization", {"epsilon": -1.0}, ("x", floats(4), floats(4))),
    Case("GroupNormalization", {"num_groups": 3}, ("x", floats(3), floats(3))),
    Case("GroupNormalization", {"num_groups": 2}, ("x", floats(2), floats(2)), opset=21),
    Case("GroupNormalization", {"num_groups": 2, "stash_type": 10}, ("x", floats(4), floats(4)), opset=21),
    Case("RMSNormalization", {"axis": 0}, ("x", floats(8)), opset=23),
    Case("RMSNormalization", inputs=("x", floats(7)), opset=23),
    Case("LRN"),
    Case("LRN", {"size": 2}),
    Case("LRN", {"size": 3, "bias": 0.0}),
    Case("LRN", {"size": 3, "beta": -1.0}),
    Case("Attention", inputs=("x", "r", "p"), shape=(5, 6), opset=23),
    Case("Attention", {"softcap": 2.0}, ("x", "r", "p"), (2, 5, 6), opset=23),
    Case("Attention", {"q_num_heads": 4, "kv_num_heads": 4}, ("x", "r", "p"), (5, 6), opset=23),
    Case("Attention", inputs=("x", "r", "p", floats(3, 2, 5, 5)), shape=(2, 5, 6), opset=23),
    Case("Attention", inputs=("x", "r", "p", floats(7)), shape=(2, 5, 6), opset=23),
    Case("Attention", inputs=("x", "r", "p", np.tri(5, k=-1, dtype=bool)), shape=(2, 5, 6), opset=23),
    Case("Attention", inputs=("x", "r", "p", floats(5, 1)), shape=(2, 5, 6), opset=24),
    Case("Attention", inputs=("x", "r", "p", floats(5, 3)), shape=(2, 5, 6), opset=24),
    Case("Attention", inputs=("x", "r", "p", "", "", "", ints(5, 5)), shape=(2, 5, 6), opset=24),
    Case("Attention", {"left_window_size": 1}, ("x", "r", "p"), (2, 5, 6), opset=25),
    Case("Swish", {"alpha": float("nan")}, opset=24),
    *(
        Case("Einsum", {"equation": equation})
        for equation in (
            "bhw",
            "...c->c...",
            "bchh->bch",
            "bchw->cbhw",
            "bchw->bhw",
            "bchw->bchwx",
            "bch->bhc",
            "b1->b",
        )
    ),
    Case("Einsum", {"equation": "bchw,bc->bchw"}, ("x", floats(3, 4))),
    Case("Einsum", {"equation": "bchw,dc->bdhw"}, ("x", floats(3, 5))),
]
