"""Random edits of a file: of its bytes, of its two ends, of what its parts say."""

import random

import numpy as np
import onnx
from onnx import helper, numpy_helper

from radii.graph import OPERATORS
from radii.graph.folding import FOLDS


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four random edits: a byte, a run deleted, repeated or replaced, the end cut off."""
    bytes_ = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(bytes_)), rng.randint(1, 8)
        edit = rng.randrange(6)
        if edit <= 2:
            bytes_[at] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
        elif edit == 3:
            del bytes_[at : at + length]
        elif edit == 4:
            bytes_[at:at] = bytes_[at : at + length]
        else:
            bytes_[at : at + length] = rng.randbytes(length)
        if not bytes_:
            break
    return bytes(bytes_[: rng.randrange(len(bytes_) + 1)] if rng.random() < 0.05 else bytes_)


def contradicted(data: bytes, rng: random.Random) -> bytes:
    """One to three edits that keep the file well formed: numbers, names, operators and shapes that do not fit."""
    proto = onnx.ModelProto.FromString(data)
    graph = proto.graph
    numbers = (-(2**63), -1, 0, 1, 2, 3, 7, 2**31, 2**40, 2**63 - 1)
    for _ in range(rng.randint(1, 3)):
        chosen = rng.choice(graph.node)
        tensor = rng.choice(graph.initializer)
        edit = rng.randrange(7)
        if edit == 0:
            chosen.op_type = rng.choice([*OPERATORS, *FOLDS])
        elif edit == 1 and chosen.input:
            names = [value.name for value in graph.initializer] + [out for other in graph.node for out in other.output]
            chosen.input[rng.randrange(len(chosen.input))] = rng.choice(["x", "", *names])
        elif edit == 2 and chosen.input:
            del chosen.input[rng.randrange(len(chosen.input)) :]
        elif edit == 3:
            kinds = (OPERATORS[chosen.op_type].attributes if chosen.op_type in OPERATORS else {}) or {"axis": "int"}
            name = rng.choice(list(kinds))
            value = rng.choice([rng.choice(numbers), rng.choices(numbers, k=rng.randint(1, 5)), 0.5, b"SAME_UPPER"])
            kept = [entry for entry in chosen.attribute if entry.name != name]
            del chosen.attribute[:]
            chosen.attribute.extend([*kept, helper.make_attribute(name, value)])
        elif edit == 4:
            tensor.dims[:] = rng.choices(numbers, k=rng.randint(0, 4))
        elif edit == 5:
            kind = rng.choice((np.float32, np.int64, np.float64, bool, np.int32))
            shape = rng.choices((0, 1, 2, 3, 4, 16), k=rng.randint(0, 4))
            values = np.random.default_rng(rng.randrange(2**32)).integers(-3, 4, shape).astype(kind)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        else:
            dim = rng.choice(graph.input[0].type.tensor_type.shape.dim)
            dim.dim_value = rng.choice(numbers)
    return proto.SerializeToString()


def structural(data: bytes, rng: random.Random) -> bytes:
    """A mutation where it matters: most bytes of a real file are weights, and its structure is at the two ends."""
    if rng.random() < 0.3:
        return mutated(data, rng)
    cut = rng.randrange(min(len(data), 3000)) + 1
    if rng.random() < 0.5:
        return mutated(data[:cut], rng) + data[cut:]
    return data[:-cut] + mutated(data[-cut:], rng)
