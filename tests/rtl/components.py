"""Models of components, compiled once in a run of the tests."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tapeout.rtl.component import Component
from tapeout.rtl.harness import Build, Model, build

_components: dict[str, Component] = {}


def started(component: Component) -> Model:
    """A fresh, reset model; components with the same name are the same hardware."""
    _components.setdefault(component.module_name, component)
    return _built(component.module_name).start()


@cache
def _built(name: str) -> Build:
    return build(_components[name])


def counting(n: int, width: int) -> NDArray[np.uint8]:
    """Beats [n, bytes] that count, so that a loss or a repetition shows."""
    words = (np.arange(n, dtype=np.uint64) & ((1 << width) - 1)).reshape(n, 1)
    return np.ascontiguousarray(words.view(np.uint8)[:, : -(-width // 8)])


def every_window(symbols: int, length: int) -> list[int]:
    """A cyclic sequence in which every sequence of `length` symbols occurs (de Bruijn)."""
    word = [0] * (symbols * length)
    out: list[int] = []

    def extend(t: int, period: int) -> None:
        if t > length:
            if length % period == 0:
                out.extend(word[1 : period + 1])
            return
        word[t] = word[t - period]
        extend(t + 1, period)
        for symbol in range(word[t - period] + 1, symbols):
            word[t] = symbol
            extend(t + 1, t)

    extend(1, 1)
    return out
