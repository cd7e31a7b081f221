"""Linear pieces of a network as numbers: explicit matrices, or blocks of a circular operator that holds them.

A bound that looks at several layers at once (:mod:`radii.lipschitz.eclipse`) needs the layers themselves, not only
their norms. What a piece cannot be written as, it says (:class:`NotApplicable`); nothing is approximated silently: the
``error`` of a piece bounds the spectral norm of what its numbers miss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radii.graph import Graph, Node
from radii.graph.rules import Convolution, Dense, Rule, Slope
from radii.lipschitz.conv import explicit_matrices
from radii.lipschitz.geometry import axes
from radii.lipschitz.matrix import NormBound
from radii.lipschitz.rounding import UNIT, as_float64, gamma, product_up, sum_up, up

Array = npt.NDArray[np.float64]

SHUFFLES = frozenset({"Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})  # the order is kept
COPIES = SHUFFLES | {
    *("Cast", "DepthToSpace", "Expand", "Gather", "Neg", "Pad", "Slice", "SpaceToDepth", "Tile", "Transpose"),
}
WITH_CONSTANT = frozenset({"Add", "Sub", "Sum", "Mul", "Div"})
AVERAGES = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"})
SCALES = frozenset({"Mul", "Div", "BatchNormalization", "Neg"})
OFFSETS = frozenset({"bias", "offset"})

MOST_ENTRIES = 2**22  # of an explicit matrix: 32 MiB
MOST_BLOCK_BYTES = 2**26  # of all blocks of one layer
RELATIVE = 2.0**-36  # what an operator's own arithmetic may lose, as in `radii.lipschitz.forward`
PHASE = 64 * UNIT  # of a computed e^{2 pi i t}


class NotApplicable(Exception):
    """Why a sharper rule cannot treat a piece of the network; the product of norms still can."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some nodes in a row that together are linear, but for a constant."""

    graph: Graph
    source: str
    nodes: tuple[Node, ...]
    rules: tuple[Rule, ...]
    norms: tuple[NormBound, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.graph.shapes[self.source]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.graph.shapes[self.nodes[-1].output] if self.nodes else self.input_shape

    @property
    def upper(self) -> float:
        """The product of the nodes' norms."""
        return product_up(norm.upper for norm in self.norms)

    def part(self, start: int, stop: int | None = None) -> "Piece":
        """The nodes from ``start`` to ``stop``."""
        source = self.nodes[start - 1].output if start else self.source
        return Piece(self.graph, source, self.nodes[start:stop], self.rules[start:stop], self.norms[start:stop])


def is_linear(node: Node, rule: Rule) -> bool:
    """Whether a node is linear but for a constant, in its one input."""
    if len(node.inputs) != 1:
        return False
    if isinstance(rule, Dense | Convolution):
        return True
    name, operator = node.operator.name, node.operator
    if name in WITH_CONSTANT:
        return not (name == "Div" and getattr(operator, "constant_first", False)) and _finite(rule)
    return name in COPIES | AVERAGES | SCALES and isinstance(rule, Slope) and rule.loss == 0


def _finite(rule: Rule) -> bool:
    return not isinstance(rule, Slope) or math.isfinite(rule.upper)


def explicit(piece: Piece) -> tuple[Array, float]:
    """The matrix (outputs, inputs), row-major activations, and its error. Raises `NotApplicable` if it is large."""
    inputs, start = math.prod(piece.input_shape), 0
    diagonal = torch.ones((1, *piece.input_shape), dtype=torch.float64)
    while start < len(piece.nodes) and _keeps_entries(piece.graph, piece.nodes[start]):
        diagonal = run(piece.nodes[start], diagonal)
        start += 1
    sizes = [math.prod(piece.graph.shapes[node.output]) for node in piece.nodes[start:]]
    first = piece.rules[start] if start < len(piece.nodes) else None
    fits = isinstance(first, Dense) and first.weight.shape[1] == inputs
    if inputs * max([0 if fits else inputs, *sizes]) > MOST_ENTRIES:
        raise NotApplicable("its matrix would be too large")
    loss = start * 4 * UNIT
    if isinstance(first, Dense) and fits:
        basis = _tensor(first.weight).mT * diagonal.reshape(-1, 1)
        basis = basis.reshape(inputs, *piece.graph.shapes[piece.nodes[start].output])
        start += 1
    else:
        basis = torch.diag(diagonal.reshape(-1)).reshape(inputs, *diagonal.shape[1:])
    error = up(loss * _norm(basis))
    exact = start == 0  # basis is the identity
    for node, rule, norm in zip(piece.nodes[start:], piece.rules[start:], piece.norms[start:], strict=True):
        size = _norm(basis)
        if isinstance(rule, Dense):
            weight = _tensor(rule.weight)
            basis = basis @ weight.mT
            loss = 0.0 if exact else gamma(weight.shape[1] + 4) * _norm(weight) * size
        elif isinstance(rule, Convolution):
            matrix = torch.from_numpy(_convolution(rule))
            made = torch.einsum("bgi,goi->bgo", basis.reshape(inputs, len(matrix), -1), matrix)
            basis = made.reshape(inputs, *piece.graph.shapes[node.output])
            loss = 0.0 if exact else gamma(matrix.shape[2] + 4) * _norm(matrix) * size
        else:
            basis = run(node, basis)
            loss = 0.0 if node.operator.name in COPIES else RELATIVE * norm.upper * size
        exact = False
        error = sum_up((product_up((norm.upper, error)), up(up(loss))))
    return basis.reshape(inputs, -1).mT.contiguous().numpy(), error


def _tensor(weight: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(as_float64(weight)))


def _keeps_entries(graph: Graph, node: Node) -> bool:
    """Whether it multiplies every entry by a number, and leaves it in its place."""
    name = node.operator.name
    same = graph.shapes[node.inputs[0]] == graph.shapes[node.output]
    return name in SHUFFLES or (same and name in ("Add", "Sub", "Sum", "Mul", "Div", "Neg", "BatchNormalization"))


def _norm(array: torch.Tensor) -> float:
    """The Frobenius norm, rounded up."""
    return up(float(torch.linalg.vector_norm(array)) * (1 + gamma(array.numel() + 16)))


def run(node: Node, basis: torch.Tensor) -> torch.Tensor:
    """What a linear node makes of inputs (B, *shape), without its constant."""
    arrays = {}
    for name, array in node.operator.arrays().items():
        values = torch.from_numpy(np.array(array, dtype=np.float64 if array.dtype.kind == "f" else array.dtype))
        additive = name in OFFSETS or (name == "constant" and node.operator.name in ("Add", "Sub", "Sum"))
        arrays[name] = torch.zeros_like(values) if additive else values
    return node.operator.run([basis], arrays) - node.operator.run([torch.zeros_like(basis[:1])], arrays)


def _convolution(rule: Convolution) -> Array:
    """(groups, outputs, inputs) of a convolution with zero padding."""
    kernel = as_float64(rule.weight)
    layer = axes(
        kernel.shape[2:],
        rule.input_size,
        stride=rule.stride,
        padding=rule.padding,
        dilation=rule.dilation,
        padding_mode="zeros",
        transposed=rule.transposed,
        output_padding=rule.output_padding or 0,
    )
    grouped = kernel.reshape(rule.groups, kernel.shape[0] // rule.groups, *kernel.shape[1:])
    entries = kernel.shape[0] * kernel.shape[1] * math.prod(axis.outputs * axis.size for axis in layer)
    if entries > MOST_ENTRIES:
        raise NotApplicable("its matrix would be too large")
    matrix = explicit_matrices(grouped, layer)
    return matrix.swapaxes(1, 2) if rule.transposed else matrix


@dataclass(frozen=True, slots=True)
class Torus:
    """A torus of ``size`` pixels per axis, and the half of its frequencies that real operators need."""

    size: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.size[:-1]) * (self.size[-1] // 2 + 1)

    def phases(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.complex128]:
        """(P, count): ``e^{2 pi i <f, p>/N}`` for integer positions (P, axes); each errs by at most `PHASE`."""
        grids = [np.arange(n) for n in self.size[:-1]] + [np.arange(self.size[-1] // 2 + 1)]
        turns = np.zeros((len(positions), *(len(grid) for grid in grids)))
        for a, (grid, n) in enumerate(zip(grids, self.size, strict=True)):
            along = (positions[:, a, np.newaxis] * grid) % n / n
            turns += along.reshape(len(positions), *(-1 if b == a else 1 for b in range(len(grids))))
        result: npt.NDArray[np.complex128] = np.exp(2j * np.pi * turns.reshape(len(positions), -1))
        return result

    def weights(self) -> Array:
        """(count,): how many of all frequencies each stands for."""
        last = np.full(self.size[-1] // 2 + 1, 2.0)
        last[0] = 1
        if self.size[-1] % 2 == 0:
            last[-1] = 1
        return np.tile(last, math.prod(self.size[:-1]))


def least_torus(piece: Piece) -> tuple[int, ...]:
    """The smallest torus that holds a piece: pixels per axis on which nothing wraps onto a pixel.

    At most one of its nodes may move pixels, since what the padding cuts off in between is no part of a torus.

    Raises `NotApplicable`.
    """
    size, moving = piece.input_shape[1:], 0
    if not size:
        raise NotApplicable("it has no pixels")
    least = size
    for node, rule in zip(piece.nodes, piece.rules, strict=True):
        if isinstance(rule, Convolution):
            if any(s != 1 for s in rule.stride):
                raise NotApplicable("a convolution has a stride")
            made = piece.graph.shapes[node.output][1:]
            for_axes = []
            for n, o, k, d, (low, _) in zip(
                size, made, rule.weight.shape[2:], rule.dilation, rule.padding, strict=True
            ):
                reads, makes = (o, n) if rule.transposed else (n, o)
                for_axes.append(max(reads + low, makes + d * (k - 1) - low, n, o))
            moving += made != size or any(k > 1 for k in rule.weight.shape[2:])
            least, size = tuple(map(max, least, for_axes)), made
        elif per_channel(piece.graph, node) is None:
            raise NotApplicable(f"{node.operator.name} is no convolution")
    if moving > 1:
        raise NotApplicable("two convolutions follow each other without an activation between them")
    return least


def per_channel(graph: Graph, node: Node) -> Array | None:
    """The factor of each channel, where that is all a node does."""
    shape, name = graph.shapes[node.output], node.operator.name
    if graph.shapes[node.inputs[0]] != shape:
        return None
    if name in ("Identity", "Dropout"):
        return np.ones(shape[0])
    if name in ("Add", "Sub", "Sum", "Neg"):
        turned = name == "Neg" or (name == "Sub" and getattr(node.operator, "constant_first", False))
        return np.full(shape[0], -1.0 if turned else 1.0)
    if name == "BatchNormalization":
        return as_float64(node.operator.arrays()["scale"])
    if name not in ("Mul", "Div"):
        return None
    constant = as_float64(node.operator.arrays()["constant"])
    sizes = (1,) * (len(shape) - constant.ndim) + constant.shape
    if any(size != 1 for size in sizes[1:]):
        return None
    factor = np.broadcast_to(constant.reshape(-1), shape[:1])
    return 1 / factor if name == "Div" else factor.copy()


def fourier_blocks(piece: Piece, torus: Torus) -> tuple[torch.Tensor, float]:
    """(frequencies, out, in) complex128 blocks of the circular operator that holds a piece, and their error."""
    channels = [piece.input_shape[0], *(piece.graph.shapes[node.output][0] for node in piece.nodes)]
    if torus.count * max(channels) ** 2 * 16 > MOST_BLOCK_BYTES:
        raise NotApplicable("its Fourier blocks take too much memory")
    blocks: torch.Tensor | None = None
    largest, error = 1.0, 0.0
    for node, rule in zip(piece.nodes, piece.rules, strict=True):
        if isinstance(rule, Convolution):
            own, norm, lost = _symbol(rule, torus)
        else:
            factor = per_channel(piece.graph, node)
            assert factor is not None
            own, norm = torch.diag(torch.from_numpy(factor + 0j))[None], up(float(np.abs(factor).max()))
            lost = up(norm * 4 * UNIT)
        if blocks is None:
            blocks, largest, error = own, norm, lost
            continue
        # every norm here bounds the Frobenius norm of a block's moduli, hence its own
        wide = up(norm * up(math.sqrt(own.shape[2])))
        arithmetic = up(2 * gamma(2 * own.shape[2] + 8) * wide * up(largest * up(math.sqrt(blocks.shape[2]))))
        error = sum_up((product_up((norm, error)), product_up((lost, sum_up((largest, error)))), arithmetic))
        blocks, largest = own @ blocks, product_up((norm, largest))
    if blocks is None:
        blocks = torch.eye(channels[0], dtype=torch.complex128)[None]
    return blocks.expand(torus.count, -1, -1), error


def _symbol(rule: Convolution, torus: Torus) -> tuple[torch.Tensor, float, float]:
    """Blocks of a stride-1 convolution; a bound on their Frobenius norms, so far as computed; their error."""
    kernel = as_float64(rule.weight)
    groups, taps = rule.groups, kernel.shape[2:]
    positions = np.array(list(np.ndindex(*taps)), dtype=np.int64).reshape(-1, len(taps))
    positions = positions * np.array(rule.dilation) - np.array([low for low, _ in rule.padding])
    if rule.transposed:
        kernel = kernel.reshape(groups, -1, *kernel.shape[1:]).swapaxes(1, 2)  # (groups, out, in, *taps)
        positions = -positions
    else:
        kernel = kernel.reshape(groups, -1, *kernel.shape[1:])
    out, inner = kernel.shape[1:3]
    phases = torch.from_numpy(torus.phases(positions))  # (T, F)
    flat = torch.from_numpy(np.ascontiguousarray(kernel).reshape(groups * out * inner, -1)).to(torch.complex128)
    made = (flat @ phases).T.reshape(-1, groups, out, inner)
    blocks = torch.zeros((torus.count, groups, out, groups, inner), dtype=torch.complex128)
    for g in range(groups):
        blocks[:, g, :, g] = made[:, g]
    moduli = up(float(np.linalg.norm(np.abs(flat.numpy()).sum(1))) * (1 + gamma(kernel.size + 16)))
    lost = up(up(moduli * (2 * gamma(2 * phases.shape[0] + 8) + PHASE * 2)))
    return blocks.reshape(torus.count, groups * out, groups * inner), moduli, lost


def gathering(piece: Piece, torus: Torus) -> tuple[torch.Tensor, float]:
    """(frequencies, out, channels) of a piece that reads all pixels at once: a dense layer behind a flatten or a mean.

    With ``x^`` the unitary Fourier coefficients of its input, the piece is the real part of ``sum_f w_f H^(f) x^(f)``
    over half of the frequencies; the factors ``sqrt(w_f)`` are in the blocks.
    """
    shape = piece.input_shape
    start = 0
    while start < len(piece.nodes) and piece.nodes[start].operator.name in SHUFFLES:
        start += 1
    error = 0.0
    if start < len(piece.nodes) and isinstance(rule := piece.rules[start], Dense):
        weight = as_float64(rule.weight)
        if weight.shape[1] != math.prod(shape):
            raise NotApplicable("its dense layer does not read all pixels")
        head, rest = weight.reshape(-1, *shape), piece.part(start + 1)
    elif start < len(piece.nodes) and _is_mean(piece, start):
        pixels = math.prod(shape[1:])
        head = np.broadcast_to(
            np.eye(shape[0]).reshape(shape[0], shape[0], *[1] * (len(shape) - 1)) / pixels, (shape[0], *shape)
        )
        error, rest = up(UNIT * math.sqrt(shape[0])), piece.part(start + 1)
    else:
        raise NotApplicable("no convolution, dense layer or mean follows its pixels")
    if rest.nodes:
        matrix, lost = explicit(rest)
        size = up(float(np.linalg.norm(head)) * (1 + gamma(head.size + 16)))
        width = up(float(np.linalg.norm(matrix)) * (1 + gamma(matrix.size + 16)))
        error = up(up(width * error + lost * (size + error) + gamma(matrix.shape[1] + 8) * width * size))
        head = np.tensordot(matrix, head, axes=1)
    if len(head) * head[0].size > 4 * MOST_ENTRIES or torus.count * len(head) * shape[0] * 16 > MOST_BLOCK_BYTES:
        raise NotApplicable("its dense layer is too large")
    size = up(float(np.linalg.norm(head)) * (1 + gamma(head.size + 16)))
    blocks = torch.from_numpy(np.ascontiguousarray(head))
    count = math.prod(torus.size)
    for axis in range(len(torus.size)):  # the transform, one axis at a time: a matrix product, whose error is known
        n = torus.size[axis]
        kept = n // 2 + 1 if axis == len(torus.size) - 1 else n
        turns = np.outer(np.arange(shape[1 + axis]), np.arange(kept)) % n / n
        matrix_f = torch.from_numpy(np.exp(2j * np.pi * turns)) / math.sqrt(n)
        blocks = torch.tensordot(blocks.to(torch.complex128), matrix_f, dims=([2], [0]))
    blocks = blocks.reshape(len(head), shape[0], -1).permute(2, 0, 1)
    roots = torch.from_numpy(np.sqrt(torus.weights()))
    # each axis loses this of the Frobenius norm: its moduli add up to at most sqrt(pixels) times it
    pixels = max(shape[1:])
    axis_loss = (2 * gamma(2 * pixels + 16) + PHASE * 2) * math.sqrt(pixels) * 2
    error = up(up(error + len(torus.size) * 2 * axis_loss * size * math.sqrt(2)))
    if error > 1e-6 * size:
        raise NotApplicable("rounding is too large")
    return blocks * roots[:, None, None], error if count else 0.0


def _is_mean(piece: Piece, at: int) -> bool:
    node = piece.nodes[at]
    shape = piece.graph.shapes[node.inputs[0]]
    if shape != piece.input_shape or len(shape) < 2:
        return False
    made = math.prod(piece.graph.shapes[node.output])
    means = ("GlobalAveragePool", "ReduceMean", "AveragePool")
    return node.operator.name in means and made == shape[0] and _spatial(node, shape)


def _spatial(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether it takes the mean of every channel: seen on a probe that tells channels and pixels apart."""
    probe = torch.zeros((2, *shape), dtype=torch.float64)
    probe[0] = torch.arange(shape[0], dtype=torch.float64).reshape(-1, *[1] * (len(shape) - 1))
    probe[1] = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = probe.flatten(2).mean(2)
    return bool(torch.allclose(run(node, probe).reshape(2, -1), want, rtol=1e-12, atol=1e-12))


def frobenius(blocks: torch.Tensor) -> float:
    """The largest Frobenius norm of blocks (B, m, n), rounded up."""
    entries = torch.view_as_real(blocks) if blocks.is_complex() else blocks
    sizes = torch.linalg.vector_norm(entries.flatten(1), dim=1)
    return up(float(sizes.max()) * (1 + gamma(2 * blocks[0].numel() + 16)))


def largest_torus(pieces: Sequence[Piece]) -> Torus:
    """The smallest torus that holds all of them."""
    sizes: list[tuple[int, ...]] = [least_torus(piece) for piece in pieces]
    joined: Any = reduce(lambda a, b: tuple(map(max, a, b)), sizes)
    return Torus(tuple(joined))
