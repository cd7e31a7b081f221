"""Rows of the case table: activations, comparisons, reductions, normalisations, products."""

import numpy as np

from tests.graph.case import VECTOR, Case, floats, ints, number

MASK = np.arange(4 * 9 * 8).reshape(4, 9, 8) % 3 == 0

GOOD: list[Case] = [
    *(Case(name, inputs=("p",)) for name in ("Log", "Reciprocal")),
    *(Case(name) for name in ("Sin", "Cos", "Sign", "IsNaN")),
    Case("Not", inputs=("t",)),
    Case("ThresholdedRelu", opset=10),
    Case("ThresholdedRelu", {"alpha": 0.0}, opset=10),
    Case("Shrink"),
    Case("Shrink", {"lambd": 0.3, "bias": 0.3}),
    Case("Cast", {"to": 9}),
    # comparisons and choices
    *(
        Case(name, inputs=("x", other))
        for name in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
        for other in ("r", number(0.0))
    ),
    Case("Where", inputs=(MASK, "x", "r")),
    Case("Where", inputs=(MASK[None], "x", number(-3.0))),
    Case("Where", inputs=(MASK, floats(1, 4, 1, 1), "x")),
    Case("Where", inputs=(MASK, "m", "x")),
    Case("Where", inputs=("t", "x", "m")),
    Case("Where", inputs=("t", "x", number(2.0))),
    Case("Where", inputs=("t", number(1.0), floats(4, 1, 1))),
    Case("Max", inputs=("x", "r", "p")),
    Case("Max", inputs=("x", number(0.1), floats(4, 1, 1))),
    Case("Max", inputs=("x", "m")),
    Case("Max", inputs=("x",)),
    Case("Min", inputs=("x", "p")),
    Case("Min", inputs=(floats(3, 5), "x"), shape=(1, 5)),
    # reductions
    *(
        Case(name, {"axes": [1, -1]}, opset=11)
        for name in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp")
    ),
    *(
        Case(name, {"keepdims": 0}, ("x", ints(1)))
        for name in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
    ),
    Case("ReduceSum", {"noop_with_empty_axes": 1}),
    Case("ReduceSumSquare", {"axes": [2]}, opset=8),
    Case("GlobalMaxPool"),
    Case("GlobalMaxPool", shape=(3, 5), opset=8),
    Case("TopK", {"k": 2}, opset=8, outputs=2),
    Case("TopK", {"axis": 1, "largest": 0}, ("x", ints(3)), outputs=2),
    Case("TopK", inputs=("x", ints(6)), shape=VECTOR, outputs=2),
    # normalisations
    Case("LogSoftmax"),
    Case("LogSoftmax", {"axis": 1}),
    Case("LogSoftmax", opset=11),
    Case("LogSoftmax", {"axis": 2}, opset=8),
    Case("InstanceNormalization", inputs=("x", floats(4), floats(4))),
    Case("InstanceNormalization", {"epsilon": 0.1}, ("x", floats(4), floats(4)), (4, 5)),
    Case("GroupNormalization", {"num_groups": 2, "epsilon": 0.1}, ("x", floats(2), floats(2))),
    Case("GroupNormalization", {"num_groups": 2}, ("x", floats(4), floats(4)), opset=21),
    Case("RMSNormalization", {"epsilon": 0.1}, ("x", floats(8)), opset=23),
    Case("RMSNormalization", {"axis": 2}, ("x", floats(9, 8)), opset=23),
    Case("LRN", {"size": 3, "alpha": 0.9, "beta": 1.5, "bias": 0.5}),
    Case("LRN", {"size": 5}, shape=(7, 5, 3), opset=8),
    # products
    Case("MatMul", inputs=("x", floats(4, 8, 3))),
    Case("MatMul", inputs=(floats(1, 4, 5, 9), "x")),
    Case("MatMul", inputs=("x", floats(3, 6, 2)), shape=(1, 5, 6)),
    Case("Attention", {"q_num_heads": 2, "kv_num_heads": 2}, ("x", "r", "p"), (5, 6), opset=23),
    Case("Attention", {"scale": 0.3, "is_causal": 1}, ("x", "r", "p"), (2, 5, 6), opset=23),
    Case("Attention", inputs=("x", "r", "p", floats(1, 2, 5, 5)), shape=(2, 5, 6), opset=23),
    Case("Attention", inputs=("x", "r", "p", np.tri(5, dtype=bool)), shape=(2, 5, 6), opset=23),
    Case("Einsum", {"equation": "bchw->bhcw"}),
    Case("Einsum", {"equation": "b c h w, d c -> b d h w"}, ("x", floats(3, 4))),
    Case("Einsum", {"equation": "hwo,bchw->bwco"}, (floats(9, 8, 2), "x")),
    Case("Einsum", {"equation": "bij,bkj->bik"}, ("x", "r"), (5, 6)),
]

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
    *(
        Case("Einsum", {"equation": equation})
        for equation in ("bchw", "...->...", "bchh->bch", "bchw->cbhw", "bchw->bhw", "bchw->bchwx", "bch->bhc", "b1->b")
    ),
    Case("Einsum", {"equation": "bchw,bc->bchw"}, ("x", floats(3, 4))),
    Case("Einsum", {"equation": "bchw,dc->bdhw"}, ("x", floats(3, 5))),
]
