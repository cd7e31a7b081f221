"""The matrix that a rule speaks of, entry by entry from its definition."""

import itertools

import numpy as np

from radii.graph import rules


def rule_matrix(rule: rules.Dense | rules.Convolution, positions: int) -> np.ndarray:
    """Of a dense layer at so many positions, or of a convolution."""
    return convolution_matrix(rule) if isinstance(rule, rules.Convolution) else np.kron(np.eye(positions), rule.weight)


def convolution_matrix(rule: rules.Convolution) -> np.ndarray:
    """Every output is the sum over the taps of the kernel at its place."""
    if rule.transposed:
        return transposed_matrix(rule)
    out, per_group = rule.weight.shape[:2]
    kernel = rule.weight.shape[2:]
    sizes = rule.input_size
    counts = [
        (n + low + high - d * (k - 1) - 1) // s + 1
        for n, k, s, d, (low, high) in zip(sizes, kernel, rule.stride, rule.dilation, rule.padding, strict=True)
    ]
    matrix = np.zeros((out, *counts, per_group * rule.groups, *sizes))
    for o in range(out):
        group = o // (out // rule.groups)
        for position in itertools.product(*map(range, counts)):
            for c in range(per_group):
                for tap in itertools.product(*map(range, kernel)):
                    pixel = tuple(
                        p * s + t * d - low
                        for p, s, t, d, (low, _) in zip(
                            position, rule.stride, tap, rule.dilation, rule.padding, strict=True
                        )
                    )
                    if all(0 <= q < n for q, n in zip(pixel, sizes, strict=True)):
                        matrix[(o, *position, group * per_group + c, *pixel)] += rule.weight[(o, c, *tap)]
    return matrix.reshape(out * int(np.prod(counts)), -1)


def transposed_matrix(rule: rules.Convolution) -> np.ndarray:
    """Every input pixel adds its multiple of the kernel to the output, which is then cropped."""
    channels, per_group = rule.weight.shape[:2]
    kernel, sizes = rule.weight.shape[2:], rule.input_size
    made = [
        (n - 1) * s + d * (k - 1) + 1 - low - high + extra
        for n, k, s, d, (low, high), extra in zip(
            sizes, kernel, rule.stride, rule.dilation, rule.padding, rule.output_padding, strict=True
        )
    ]
    matrix = np.zeros((per_group * rule.groups, *made, channels, *sizes))
    for c in range(channels):
        group = c // (channels // rule.groups)
        for o, pixel, tap in itertools.product(
            range(per_group), itertools.product(*map(range, sizes)), itertools.product(*map(range, kernel))
        ):
            target = tuple(
                p * s + t * d - low
                for p, s, t, d, (low, _) in zip(pixel, rule.stride, tap, rule.dilation, rule.padding, strict=True)
            )
            if all(0 <= q < n for q, n in zip(target, made, strict=True)):
                matrix[(group * per_group + o, *target, c, *pixel)] += rule.weight[(c, o, *tap)]
    return matrix.reshape(-1, channels * int(np.prod(sizes)))
