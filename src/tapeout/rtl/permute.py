"""Networks that move items to other places; the number of items is a power of two.

Each stage of two-way choices has names of its own: what is used twice is made once.
"""

from typing import Any

from amaranth.hdl import Module, Mux, Signal


def moved_up(m: Module, items: list[Any], shift: Any, *, name: str) -> list[Any]:
    """Item i at place i + shift, around the end; higher bits of the shift do not matter."""
    return _moved(m, items, shift, -1, len(items), name)


def moved_down(
    m: Module, items: list[Any], shift: Any, *, name: str, count: int | None = None
) -> list[Any]:
    """Item i + shift at place i, around the end; the first `count` places."""
    return _moved(m, items, shift, 1, len(items) if count is None else count, name)


def _moved(m: Module, items: list[Any], shift: Any, sign: int, count: int, name: str) -> list[Any]:
    size = len(items)
    for number in reversed(range(size.bit_length() - 1)):
        step = 1 << number
        needed = min(size, count + step - 1)  # what the steps that follow reach
        pairs = [(items[(i + sign * step) % size], items[i]) for i in range(size)]
        items = _stage(m, shift[number], pairs[:needed] if sign > 0 else pairs, f"{name}{step}")
        items += [None] * (size - len(items))
    return items[:count]


def exchanged(m: Module, items: list[Any], key: Any, *, name: str) -> list[Any]:
    """Item (i exclusive-or key) at place i."""
    for number in range(len(items).bit_length() - 1):
        pairs = [(items[i ^ 1 << number], item) for i, item in enumerate(items)]
        items = _stage(m, key[number], pairs, f"{name}{1 << number}")
    return items


def renumbered(
    m: Module, items: list[Any], turn: Any, *, name: str, inverse: bool = False
) -> list[Any]:
    """At place i the item whose number is i with its bits moved up by `turn`, around the end.

    turn is less than the number of bits. With `inverse` the bits move down.
    """
    bits = len(items).bit_length() - 1
    for number in range((bits - 1).bit_length() if bits > 1 else 0):
        step = (bits - (1 << number)) % bits if inverse else 1 << number
        top = len(items) - 1
        places = [(i << step | i >> (bits - step)) & top for i in range(len(items))]
        pairs = [(items[j], items[i]) for i, j in enumerate(places)]
        items = _stage(m, turn[number], pairs, f"{name}{1 << number}")
    return items


def _stage(m: Module, choice: Any, pairs: list[tuple[Any, Any]], name: str) -> list[Any]:
    """The first of each pair if `choice`, else the second."""
    out = []
    for i, (one, zero) in enumerate(pairs):
        if one is zero:
            out.append(zero)
            continue
        wire = Signal(len(one), name=f"{name}_{i}")
        m.d.comb += wire.eq(Mux(choice, one, zero))
        out.append(wire)
    return out
