"""Networks that move items to other places; the number of items is a power of two."""

from typing import Any

from amaranth.hdl import Mux


def moved_up(items: list[Any], shift: Any) -> list[Any]:
    """Item i at place i + shift, around the end; bits of the shift that do not matter may follow.

    Lists of any part of the result's places cost what that part needs.
    """
    return _moved(items, shift, -1)


def moved_down(items: list[Any], shift: Any) -> list[Any]:
    """Item i + shift at place i, around the end; see `moved_up`."""
    return _moved(items, shift, 1)


def _moved(items: list[Any], shift: Any, sign: int) -> list[Any]:
    count = len(items)
    for number in reversed(range(count.bit_length() - 1)):
        step = sign << number
        items = [Mux(shift[number], items[(i + step) % count], items[i]) for i in range(count)]
    return items


def exchanged(items: list[Any], key: Any) -> list[Any]:
    """Item (i exclusive-or key) at place i."""
    for number in range(len(items).bit_length() - 1):
        items = [Mux(key[number], items[i ^ 1 << number], item) for i, item in enumerate(items)]
    return items


def renumbered(items: list[Any], turn: Any, *, inverse: bool = False) -> list[Any]:
    """At place i the item whose number is i with its bits moved up by `turn`, around the end.

    turn is less than the number of bits. With `inverse` the bits move down.
    """
    bits = len(items).bit_length() - 1
    for number in range((bits - 1).bit_length() if bits > 1 else 0):
        step = (bits - (1 << number)) % bits if inverse else 1 << number
        top = len(items) - 1
        from_place = [(i << step | i >> (bits - step)) & top for i in range(len(items))]
        items = [Mux(turn[number], items[j], items[i]) for i, j in enumerate(from_place)]
    return items
