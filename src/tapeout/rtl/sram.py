"""The memory that all big memories are made of."""

from amaranth.lib.wiring import In, Out

from .cell import Cell

# Verilator may put this into its parent, where no signal has the names of the function's.
TEXT = """\
module {name}(clk, rst, read_enable, read_line, data, write_enable, write_line, write_data, mask);
  input clk;
  input rst;
  input read_enable;
  input [{line}:0] read_line;
  output reg [{word}:0] data;
  input write_enable;
  input [{line}:0] write_line;
  input [{word}:0] write_data;
  input [{parts}:0] mask;
  wire unused = rst;
  reg [{word}:0] store [{depth}:0];
  function automatic [{word}:0] merged_line(
      input [{word}:0] line_before, input [{word}:0] line_written, input [{parts}:0] parts_written);
    integer part_at;
    merged_line = line_before;
    for (part_at = 0; part_at <= {parts}; part_at = part_at + 1)
      if (parts_written[part_at])
        merged_line[part_at * {part} +: {part}] = line_written[part_at * {part} +: {part}];
  endfunction
  always_ff @(posedge clk)
    if (read_enable) data <= store[read_line];
  always_ff @(posedge clk)
    if (write_enable) store[write_line] <= merged_line(store[write_line], write_data, mask);
endmodule
"""


class Sram(Cell):
    """A synchronous memory with one port that reads and one that writes parts of a line.

    Latency 1 cycle; `data` stays until the next read. A line that is read and written in the same
    cycle is read as it was. Nothing is known of what it holds before it is written.

    Parameters
    ----------
    width : int
        Bits of a line.
    depth : int
        Lines; at least 2.
    part : int
        Bits that have a bit of the mask; a divisor of width.

    Members
    -------
    read_enable : In(1); read_line : In(range(depth)); data : Out(width)
    write_enable : In(1); write_line : In(range(depth)); write_data : In(width)
    mask : In(a bit for each part)
    """

    def __init__(self, *, width: int, depth: int, part: int):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth}")
        if part < 1 or width < 1 or width % part:
            raise ValueError(f"width must be a multiple of {part} bits, not {width}")
        name = f"sram_{width}x{depth}_{part}"
        line_bits = (depth - 1).bit_length()
        self.width, self.depth, self.part = width, depth, part
        super().__init__(
            {
                "read_enable": In(1),
                "read_line": In(line_bits),
                "data": Out(width),
                "write_enable": In(1),
                "write_line": In(line_bits),
                "write_data": In(width),
                "mask": In(width // part),
            },
            name=name,
            text=TEXT.format(
                name=name,
                line=line_bits - 1,
                word=width - 1,
                depth=depth - 1,
                part=part,
                parts=width // part - 1,
            ),
        )
