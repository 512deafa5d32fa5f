"""The element engine: Map, Norm, Rope, Softmax and VectorMatmul as graphs on rings of chunks."""

from amaranth.hdl import Module
from amaranth.lib import data, stream
from amaranth.lib.wiring import Out

from .command import COMMAND
from .component import Component
from .ports import read_port, unit_ports, write_port


class ElementEngine(Component):
    """Ports of the engine; every command traps until it stands."""

    def __init__(self, *, lanes: int, l1_granules: int, scale_granules: int, accumulators: int):
        self.lanes = lanes
        window = {"granules": lanes // 4}
        l1 = {**window, "address_bits": (l1_granules - 1).bit_length()}
        acc = {**window, "address_bits": (accumulators // 2 - 1).bit_length()}
        scale = {"granules": 1, "address_bits": (scale_granules - 1).bit_length()}
        values = data.StructLayout({"values": data.ArrayLayout(32, lanes)})
        super().__init__(
            {
                **unit_ports(COMMAND),
                "read_a": Out(read_port(**l1)),
                "read_b": Out(read_port(**l1)),
                "read_acc": Out(read_port(**acc)),
                "read_scale": Out(read_port(**scale)),
                "write": Out(write_port(**l1)),
                "probabilities": Out(stream.Signature(values)),
            },
            name=f"vector_engine_{lanes}_{l1_granules}_{scale_granules}_{accumulators}",
        )

    def build(self, m: Module) -> None:
        """Nothing works yet."""
        m.d.comb += [self.commands.ready.eq(1), self.done.eq(0), self.busy.eq(0)]
        for port in (self.read_a, self.read_b, self.read_acc, self.read_scale, self.write):
            m.d.comb += [port.request.valid.eq(0), port.request.payload.eq(0)]
        m.d.comb += [self.probabilities.valid.eq(0), self.probabilities.payload.eq(0)]
        m.d.sync += self.trap.eq(self.commands.valid)
