"""How data of one shape become data of another, in words and in NumPy. Needs nothing: API and intake share it."""

from collections.abc import Sequence
from itertools import permutations
from math import prod


def rearrangement(has: Sequence[int], wants: Sequence[int]) -> str | None:
    """What makes inputs x of shape (N, *has) inputs of shape (N, *wants), as a line to paste and its condition; None
    where nothing does.

    Where one shape is a permutation of the other a reshape would scramble every input, without an error: it is a
    transpose. What the lengths don't show (which of two equal axes is which, in which order numbers were flattened) is
    said as a condition, not guessed.
    """
    full = [length for length in wants if length != 1]
    if sorted(length for length in has if length != 1) == sorted(full):
        first, *others = _transposes(has, wants)
        if len(others) > 2:
            return f"{first} (of its axes of equal length the order does not show: change it where it is another)"
        also = f" (or, where axes of equal length stand in another order: {' or '.join(others)})" if others else ""
        return f"{first}{also}"
    if prod(has) != prod(wants):
        return None
    plain = f"x = x.reshape{_to(wants)}"
    image, vector = (wants, has) if len(has) == 1 else (has, wants)
    if len(vector) != 1 or len(image) != 3:
        return f"{plain} if the numbers of an input stand in the order in which the network was trained to take them"
    if min(image[0], image[-1]) == 1:  # one channel: either order is the same
        return plain
    ways = ["channel by channel", "pixel by pixel (channels last)"]
    turns = ["(0, 3, 1, 2)", "(0, 2, 3, 1)"]  # to channels first, to channels last
    other = [image[2], *image[:2]]
    if image[0] < image[-1]:  # the shorter axis is that of the channels
        other = [*image[1:], image[0]]
    else:
        ways, turns = ways[::-1], turns[::-1]
    if vector is has:
        turned = f"x = x.reshape{_to(other)}.transpose{turns[0]}"
        return f"{plain} if the inputs were flattened {ways[0]}, {turned} if {ways[1]}"
    turned = f"x = x.transpose{turns[1]}.reshape{_to(wants)}"
    return f"{plain} if the network was trained on inputs that were flattened {ways[0]}, {turned} if {ways[1]}"


def _transposes(has: Sequence[int], wants: Sequence[int]) -> list[str]:
    """Lines that do it, each another function of x; first the one that keeps axes of equal length in their order."""
    axes = [axis for axis, length in enumerate(has) if length != 1]
    full = [length for length in wants if length != 1]
    orders = [order for order in permutations(axes) if [has[axis] for axis in order] == full]
    return [_line(order, has, wants) for order in orders]


def _line(order: Sequence[int], has: Sequence[int], wants: Sequence[int]) -> str:
    """The line that brings the axes of ``order`` into it; those of length 1 go where ``wants`` has them."""
    if sorted(has) == sorted(wants):
        long, single = iter(order), (axis for axis, length in enumerate(has) if length == 1)
        places = [next(single if length == 1 else long) + 1 for length in wants]
        return f"x = x.transpose({', '.join(map(str, [0, *places]))})"
    if list(order) == sorted(order):
        return f"x = x.reshape{_to(wants)}"
    places = [axis + 1 for axis in (*order, *(axis for axis, length in enumerate(has) if length == 1))]
    return f"x = x.transpose({', '.join(map(str, [0, *places]))}).reshape{_to(wants)}"


def _to(shape: Sequence[int]) -> str:
    return f"(len(x), {', '.join(map(str, shape))})"
