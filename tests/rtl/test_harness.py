"""The compiled simulation itself: ports, clock, cache, waves, missing tools."""

import sys

import numpy as np
import pytest
from amaranth.hdl import Signal
from amaranth.lib.wiring import In, Out
from pywellen import Waveform

from rtl.components import counting, started
from tapeout.errors import ToolMissingError
from tapeout.rtl import harness, verilated
from tapeout.rtl.component import Component
from tapeout.rtl.stream import SkidBuffer


class Wide(Component):
    """Ports of every size class of Verilator; `sum` is registered, `same` is not."""

    def __init__(self):
        sizes = {"a": 5, "b": 13, "c": 31, "d": 45, "e": 133}
        ports = {f"{n}_in": In(w) for n, w in sizes.items()}
        ports |= {f"{n}_out": Out(w) for n, w in sizes.items()}
        super().__init__({**ports, "unreset": Out(32)}, name="wide")
        self.sizes = sizes

    def build(self, m):
        for name in self.sizes:
            m.d.sync += getattr(self, f"{name}_out").eq(~getattr(self, f"{name}_in"))
        held = Signal(32, reset_less=True)
        m.d.sync += held.eq(held)
        m.d.comb += self.unreset.eq(held)


def test_ports_of_every_width():
    model = started(Wide())
    rng = np.random.default_rng(1)
    for name, width in Wide().sizes.items():
        value = int.from_bytes(rng.bytes(20), "little") & ((1 << width) - 1)
        model.set(f"{name}_in", value)
        model.tick()
        assert model.get(f"{name}_out") == (1 << width) - 1 - value


def test_unreset_registers_hold_anything():
    build = harness.build(Wide())
    values = {build.start(seed=seed).get("unreset") for seed in (1, 2, 3)}
    assert len(values) == 3


def test_a_build_is_kept(monkeypatch, tmp_path):
    first = harness.build(SkidBuffer(9))
    monkeypatch.setattr(verilated, "_verilate", lambda *_: pytest.fail("built again"))
    assert harness.build(SkidBuffer(9)) == first
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="built again"):
        harness.build(SkidBuffer(9))


def test_waves_hold_every_value(tmp_path):
    """Read by a reader of others: what passes at each edge of the clock is what was sent."""
    rng = np.random.default_rng(1)
    sent = rng.choice([0, 1, 0x155, 0x1FF], 5000, p=[0.7, 0.1, 0.1, 0.1]).astype("<u2")
    sent[2000:3000] = rng.integers(0, 512, 1000)  # long repetitions, and none
    model = harness.build(SkidBuffer(9), trace=True).start(trace=tmp_path / "waves.fst")
    model.run({"input": sent.view(np.uint8).reshape(-1, 2)}, {"output": len(sent)})
    model.close()
    signals = {v.full_name: v.signal for v in Waveform(str(tmp_path / "waves.fst")).all_vars()}
    assert "TOP.skid_9.spare_valid" in signals
    before = [time - 1 for time, value in signals["TOP.clk"] if value]
    for end in ("input", "output"):
        ports = [signals[f"TOP.{end}_{part}"] for part in ("valid", "ready", "payload")]
        seen = ([port.value_at(time) for port in ports] for time in before)
        assert [payload for valid, ready, payload in seen if valid and ready] == sent.tolist()


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolMissingError, match="no no-such-compiler") as caught:
        harness.build(SkidBuffer(9))
    assert "apt install" in caught.value.hint


def test_no_verilator(monkeypatch):
    monkeypatch.setitem(sys.modules, "verilator", None)
    with pytest.raises(ToolMissingError, match="needs Verilator") as caught:
        harness.build(SkidBuffer(9))
    assert "tapeout[rtl]" in caught.value.hint


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert verilated.cache_folder() == tmp_path / "tapeout" / "rtl"


def test_a_run_ends_even_if_nothing_passes():
    run = started(SkidBuffer(9)).run(
        {"input": counting(3, 9)}, {"output": 3}, gates={"output": np.zeros(1, np.uint8)}
    )
    assert run.violations == ("input passed 2 of 3 beats", "output passed 0 of 3 beats")
