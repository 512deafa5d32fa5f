"""Verilog of components: one module for each, ports with plain names."""

import re

import pytest
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tapeout.rtl.component import Component
from tapeout.rtl.sfu import SpecialFunctions
from tapeout.rtl.stream import Fifo, SkidBuffer
from tapeout.rtl.verilog import to_verilog


class Chain(Component):
    """Buffers in a row."""

    def __init__(self, buffers, width=8):
        ports = {"input": In(stream.Signature(width)), "output": Out(stream.Signature(width))}
        super().__init__(ports, name="chain")
        self.buffers = buffers

    def build(self, m):
        here = wiring.flipped(self.input)
        for i, buffer in enumerate(self.buffers):
            m.submodules[f"buffer{i}"] = buffer
            wiring.connect(m, here, buffer.input)
            here = buffer.output
        wiring.connect(m, here, wiring.flipped(self.output))


def modules(text):
    return re.findall(r"^module (\w+)", text, re.MULTILINE)


def test_a_leaf_is_written_once_however_often_it_is_used():
    text = to_verilog(Chain([SkidBuffer(8), Fifo(8, depth=2), SkidBuffer(8), SkidBuffer(8)]))
    assert sorted(modules(text)) == ["chain", "fifo_8x2", "skid_8"]
    assert len(re.findall(r"^  skid_8 ", text, re.MULTILINE)) == 3


def test_ports_have_plain_names_and_resets_are_synchronous():
    text = to_verilog(SkidBuffer(8))
    assert "input [7:0] input_payload" in text
    assert "always_ff @(posedge clk)" in text
    assert "if (rst) output_valid <= 1'h0" in text
    assert "\\" not in text


def test_names_need_no_escapes():
    assert "\\" not in to_verilog(SpecialFunctions())


def test_only_control_is_reset():
    text = to_verilog(SkidBuffer(8))
    assert "8'h00" not in text, "a payload is reset or has an initial value"


def test_two_components_of_one_name_are_refused():
    class Impostor(SkidBuffer):
        def __init__(self):
            super().__init__(4)
            self.module_name = "skid_8"

    class Both(Component):
        def __init__(self):
            super().__init__({"x": Out(1)}, name="both")

        def build(self, m):
            m.submodules += [SkidBuffer(8), Impostor()]

    with pytest.raises(ValueError, match="both called skid_8"):
        to_verilog(Both())


class Loop(Component):
    """An output that is its own input."""

    def __init__(self):
        super().__init__({"input": In(1), "output": Out(1)}, name="loop")

    def build(self, m):
        m.d.comb += self.output.eq(self.output ^ self.input)


def test_a_combinational_loop_is_refused():
    with pytest.raises(RuntimeError, match="logic loop"):
        to_verilog(Loop())
