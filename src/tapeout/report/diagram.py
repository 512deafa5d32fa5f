"""The block diagram of a chip, drawn from its numbers."""

from xml.etree.ElementTree import Element

from tapeout.chip import Chip
from tapeout.chip.config import K0
from tapeout.isa import COUNTERS, REGISTERS
from tapeout.report.markup import element, svg
from tapeout.units import binary, si

WIDTH, HEIGHT = 800, 470
COPIES = 3
"""Cores drawn behind the first one, at most."""

DIAGRAM_STYLE = """
svg { font-family: system-ui, sans-serif; font-size: 12px; --ink: #1d2329; --soft: #5b6670;
  --line: #8a959f; --die: #f1f4f6; --core: #ffffff; --memory: #dbe9f6; --unit: #fde9c9;
  --queue: #e3f1e0; --outside: #e9e3f3; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6eaee; --soft: #a3adb6; --line: #6b7680;
  --die: #20262b; --core: #161a1e; --memory: #1f3a55; --unit: #54401c; --queue: #24452a;
  --outside: #3a3052; } }
""".strip()
"""What a diagram needs where no page gives it colours."""

BOX_STYLE = """
.box { stroke: var(--line); stroke-width: 1; }
.die { fill: var(--die); } .core { fill: var(--core); } .memory { fill: var(--memory); }
.unit { fill: var(--unit); } .queue { fill: var(--queue); } .outside { fill: var(--outside); }
.name { fill: var(--ink); font-weight: 600; } .note { fill: var(--soft); font-size: 11px; }
.path { fill: none; stroke: var(--soft); stroke-width: 1.5; }
.cell { fill: none; stroke: var(--soft); stroke-width: 0.4; } .head { fill: var(--soft); }
""".strip()


def block_diagram(chip: Chip) -> Element:
    """A picture of the chip: cores with their queues, units and memories, L2 and what is outside.

    Its classes are styled by `BOX_STYLE`; colours come from the page, or from `DIAGRAM_STYLE`.
    """
    label = f"Block diagram of {chip.name}"
    parts = [element("title", label), _box("die", 10, 10, 780, 370)]
    parts += [_text(24, 30, f"{chip.name}: {_peak(chip)}", "name")]
    behind = min(COPIES, chip.cores - 1)
    parts += [_box("core", 28 + 8 * i, 42 + 7 * i, 720, 242) for i in range(behind, 0, -1)]
    parts += [*_core(chip), *_shared(chip, behind), *_outside(chip)]
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)


def diagram_file(chip: Chip) -> str:
    """The picture as an SVG file that brings its own colours, for light and for dark pages."""
    return svg(block_diagram(chip), f"{DIAGRAM_STYLE}\n{BOX_STYLE}")


def _core(chip: Chip) -> list[Element]:
    m, local = chip.matrix, chip.core
    count = f"{chip.cores} cores" if chip.cores > 1 else "1 core"
    counters = (f"{REGISTERS} registers", f"{COUNTERS} counters", "loops")
    return [
        _box("core", 28, 42, 720, 242),
        _text(40, 60, f"{count}, {si(chip.clock_hz, 'Hz')}", "name"),
        *_block("queue", 40, 70, 120, 196, "CP", "command", "processor", *counters),
        *(_queue(name, 70 + 50 * i) for i, name in enumerate(("LD", "MU", "VU", "ST"))),
        *_block(
            "memory", 262, 70, 130, 110, "L1", binary(local.l1_bytes), f"{local.l1_banks} banks"
        ),
        *_block("memory", 262, 206, 130, 60, "Scale memory", binary(local.scale_bytes)),
        _box("unit", 430, 70, 150, 136),
        _grid(440, 116, 80, 80, m.rows, m.columns),
        *_lines(440, 88, ("Matrix unit", f"{m.rows} x {m.columns} x {K0} lanes")),
        *(_text(528, 150 + 16 * i, t, "note") for i, t in enumerate(_macs(chip))),
        *_block("memory", 430, 218, 150, 48, "Accumulators", f"2 x {m.accumulators:,} FP32"),
        _box("unit", 612, 70, 124, 196),
        _grid(624, 180, 100, 76, 1, chip.vector.lanes),
        *_lines(
            624,
            88,
            (
                "Vector unit",
                f"{chip.vector.lanes} lanes, FP32",
                "norms, softmax",
                "RoPE, SiLU",
                "quantise, sample",
            ),
        ),
        *_core_paths(),
    ]


def _core_paths() -> list[Element]:
    queues = (_arrow((160, 90 + 50 * i), (180, 90 + 50 * i)) for i in range(4))
    return [
        *queues,
        _arrow((228, 90), (262, 90)),
        _arrow((262, 172), (245, 172), (245, 240), (228, 240)),
        _arrow((392, 105), (430, 105)),
        _arrow((392, 236), (411, 236), (411, 180), (430, 180)),
        _arrow((505, 206), (505, 218)),
        _arrow((580, 242), (612, 242)),
        _arrow((612, 212), (596, 212), (596, 54), (327, 54), (327, 70)),
    ]


def _queue(name: str, y: float) -> Element:
    return element("g", _box("queue", 180, y, 48, 40), _text(204, y + 25, name, "name", "middle"))


def _shared(chip: Chip, behind: int) -> list[Element]:
    top = 298 + 7 * behind
    note = f"{binary(chip.l2.capacity_bytes)}, {si(chip.l2.bytes_per_s, 'B/s')}"
    return [
        _box("memory", 28, top, 744, 370 - top),
        _text(40, (top + 370) / 2 + 4, "L2, shared", "name"),
        _text(130, (top + 370) / 2 + 4, note, "note"),
    ]


def _outside(chip: Chip) -> list[Element]:
    hbm = chip.hbm
    stacks = max(1, hbm.stacks)
    width = (744 - 8 * (stacks - 1)) / stacks
    name = f"{hbm.generation} stack" if hbm.stacks else "memory on AXI"
    share = binary(hbm.capacity_bytes / stacks)
    boxes = [_stack(28 + i * (width + 8), width, name, share) for i in range(stacks)]
    total = f"{si(hbm.bytes_per_s, 'B/s')} in all, {hbm.efficiency:.0%} of it reached"
    return [
        *boxes,
        _arrow((390, 402), (390, 380)),
        _arrow((410, 380), (410, 402)),
        _text(424, 396, total, "note"),
    ]


def _stack(x: float, width: float, name: str, capacity: str) -> Element:
    return element(
        "g",
        _box("outside", x, 402, width, 56),
        _text(x + width / 2, 426, name, "name", "middle"),
        _text(x + width / 2, 444, capacity, "note", "middle"),
    )


def _block(
    kind: str, x: float, y: float, width: float, height: float, *lines: str
) -> list[Element]:
    return [_box(kind, x, y, width, height), *_lines(x + 10, y + 18, lines)]


def _lines(x: float, y: float, lines: tuple[str, ...]) -> list[Element]:
    kinds = ("name", *("note" for _ in lines[1:]))
    return [_text(x, y + 16 * i, t, k) for i, (t, k) in enumerate(zip(lines, kinds, strict=True))]


def _box(kind: str, x: float, y: float, width: float, height: float) -> Element:
    return element("rect", class_=f"box {kind}", x=x, y=y, width=width, height=height, rx=4)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> Element:
    return element("text", text, class_=kind, x=x, y=y, text_anchor=anchor)


def _grid(x: float, y: float, width: float, height: float, rows: int, columns: int) -> Element:
    across = (f"M{x} {y + height * i / rows:.4g}h{width}" for i in range(rows + 1))
    down = (f"M{x + width * i / columns:.4g} {y}v{height}" for i in range(columns + 1))
    return element("path", class_="cell", d="".join((*across, *down)))


def _arrow(*points: tuple[float, float]) -> Element:
    """A line through points, with its head at the last one."""
    (x0, y0), (x, y) = points[-2:]
    length = abs(x - x0) + abs(y - y0)  # lines are horizontal or vertical
    dx, dy = (x - x0) / length, (y - y0) / length
    line = "L".join(f"{px} {py}" for px, py in points)
    head = f"M{x} {y}l{-6 * dx - 3 * dy:g} {-6 * dy + 3 * dx:g}l{6 * dy:g} {-6 * dx:g}Z"
    return element(
        "g",
        element("path", class_="path", d=f"M{line}"),
        element("path", class_="head", d=head),
    )


def _peak(chip: Chip) -> str:
    return f"{si(chip.ops8_per_s, 'OP/s')} in 8 bits, {si(chip.ops4_per_s, 'OP/s')} in 4 bits"


def _macs(chip: Chip) -> tuple[str, ...]:
    return (f"{chip.matrix.macs_per_cycle:,}", "MACs", "per cycle")
