"""Where a model, its KV pages and its working data lie in the chip's memory."""

from dataclasses import dataclass, field, replace

from tapeout.chip import Chip
from tapeout.compiler.recipe import Recipe
from tapeout.errors import CapacityError, ConfigError
from tapeout.isa.fields import GRANULE_BYTES
from tapeout.isa.program import Kind, Placement, Region
from tapeout.model import Architecture, tensor_shapes
from tapeout.numerics import Format, format_named
from tapeout.numerics.formats import padded

ALIGN_BYTES = 64
PAGE_BYTES_MAX = (1 << 24) - 1
"""What an instruction's pitch field holds."""

PAGE_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128)
FP32_BYTES = 4
SCALAR_CONSTANTS = ("zero", "minus_infinity")
"""FP32 numbers that programs read, in the order in which they lie, 16 bytes apart."""


FACTORED = ("fp8_e4m3", "fp8_e5m2", "nvfp4")
"""Weight formats in which a whole matrix has an FP32 factor of its own."""


def align(value: int, to: int = GRANULE_BYTES) -> int:
    """`value` rounded up to a multiple of `to`."""
    return -(-value // to) * to


def power_of_two(value: int) -> int:
    """The least power of two not below `value`; 1 for 0."""
    return 1 << max(0, value - 1).bit_length()


def scale_pitch(fmt: Format, k: int) -> int:
    """Bytes from row to row of a tensor's scales, in memory and on the core; 0 without scales."""
    return align(fmt.scale_row_bytes(k))


def scale_offset(fmt: Format, k: int) -> int:
    """Bytes in a row of scales before that of element k."""
    return k // fmt.group * fmt.scale_bits // 8 if fmt.group else 0


@dataclass(frozen=True, kw_only=True)
class Codes:
    """A quantised tile's place: [rows, columns] elements and their scales, in memory."""

    format: Format
    address: int
    pitch: int
    scale_address: int
    scale_pitch: int
    columns: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What one build of a model can hold: rows of a step, sequences, pages."""

    rows: int
    sequences: int
    context_tokens: int
    page_tokens: int = 16

    def __post_init__(self) -> None:
        for name in ("rows", "sequences", "context_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.page_tokens not in PAGE_TOKENS:
            raise ConfigError(
                f"page_tokens must be a power of two up to 128, not {self.page_tokens}"
            )

    @property
    def pages_per_sequence(self) -> int:
        """Pages that one sequence may hold."""
        return -(-self.context_tokens // self.page_tokens)

    @property
    def pages(self) -> int:
        """Pages of the pool: every sequence can grow to the whole context."""
        return self.sequences * self.pages_per_sequence


@dataclass(kw_only=True)
class _Cursor:
    at: int = 0
    regions: list[Region] = field(default_factory=list[Region])

    def take(self, name: str, size_bytes: int, kind: Kind) -> int:
        address = self.at
        if size_bytes:
            self.regions.append(
                Region(name=name, address=address, size_bytes=size_bytes, kind=kind)
            )
            self.at = align(address + size_bytes, ALIGN_BYTES)
        return address


@dataclass(frozen=True, kw_only=True)
class PageLayout:
    """Offsets within a page of each KV head's keys, values and their scales, for all layers."""

    format: Format
    head_dim: int
    page_tokens: int
    layers: int
    kv_heads: int

    @property
    def key_bytes(self) -> int:
        """Bytes of one token's key, or value, of one head."""
        return self.format.row_bytes(self.head_dim)

    @property
    def key_scale_bytes(self) -> int:
        """Bytes of one key's scales."""
        return self.format.scale_row_bytes(self.head_dim)

    @property
    def value_scale_bytes(self) -> int:
        """Bytes of one value's single scale."""
        return self.format.scale_row_bytes(self.head_dim, per_row=True)

    @property
    def head_bytes(self) -> int:
        """Bytes of one head of one layer in a page."""
        line = 2 * self.key_bytes + self.key_scale_bytes + self.value_scale_bytes
        return align(line * self.page_tokens)

    @property
    def page_bytes(self) -> int:
        """Bytes of a page: all layers and heads of `page_tokens` tokens."""
        return align(self.layers * self.kv_heads * self.head_bytes, ALIGN_BYTES)

    def offset(self, layer: int, head: int, part: int) -> int:
        """Start of a part: 0 keys, 1 values, 2 key scales, 3 value scales."""
        lines = (0, self.key_bytes, 2 * self.key_bytes, 2 * self.key_bytes + self.key_scale_bytes)
        base = (layer * self.kv_heads + head) * self.head_bytes
        return base + lines[part] * self.page_tokens


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The memory map of a model on a chip: regions, tensors, buffers."""

    regions: tuple[Region, ...]
    placements: tuple[Placement, ...]
    constant_end: int
    """Programs never write below this address."""
    scalars: int
    frequencies: int
    tokens: int
    positions: int
    table_numbers: int
    """For each sequence of the step, which block table is its."""
    tables: int
    table_entries: int
    """Entries of one block table: room for a whole step that starts at the last token."""
    parameters: int
    residual: int
    normed: Codes
    queries: Codes
    keys: Codes
    values: Codes
    attended: int
    mixed: Codes
    gated: Codes
    logits: int
    sampled: int
    pool: int
    page: PageLayout
    end: int

    def placement(self, name: str) -> Placement:
        """Where the tensor called `name` lies."""
        return next(p for p in self.placements if p.name == name)


def weight_format(name: str, recipe: Recipe, shape: tuple[int, ...]) -> str:
    """The format of a checkpoint tensor: vectors FP32, embedding BF16, matrices the recipe's."""
    if len(shape) == 1:
        return "fp32"
    if name == EMBEDDING_ROWS:
        return "fp32" if recipe.weights == "fp32" else "bf16"
    return recipe.weights


EMBEDDING_ROWS = "embedding rows"
"""Placement of the embedding that is looked up; a tied head has its own, in the weights' format."""


def lay_out(architecture: Architecture, recipe: Recipe, sizes: Sizes, chip: Chip) -> Layout:
    """Place everything.

    Raises:
        CapacityError: if it does not fit the chip's memory.
    """
    cursor = _Cursor()
    placements = _place_tensors(cursor, architecture, recipe)
    weight_end = cursor.at
    scalars = cursor.take("scalars", GRANULE_BYTES * len(SCALAR_CONSTANTS), "constants")
    frequencies = cursor.take("frequencies", align(4 * architecture.head_dim), "constants")
    rows, a, head = sizes.rows, architecture, architecture.head_dim
    tokens = cursor.take("tokens", 4 * rows, "input")
    positions = cursor.take("positions", 4 * rows, "input")
    table_numbers = cursor.take("table numbers", 4 * sizes.sequences, "input")
    table_entries = -(-(sizes.context_tokens + rows) // sizes.page_tokens)
    tables = cursor.take("tables", 4 * sizes.sequences * table_entries, "input")
    parameters = cursor.take("parameters", 32 * sizes.sequences, "input")
    constant_end = cursor.at
    act, kv = recipe.of("activations"), recipe.of("kv")
    page = PageLayout(
        format=kv,
        head_dim=head,
        page_tokens=sizes.page_tokens,
        layers=a.layers,
        kv_heads=a.kv_heads,
    )
    if page.page_bytes > PAGE_BYTES_MAX:
        raise CapacityError(
            f"a page of {sizes.page_tokens} tokens must have at most {PAGE_BYTES_MAX} bytes,"
            f" not {page.page_bytes}",
            hint="ask for fewer tokens in a page",
        )
    layout = Layout(
        regions=(),
        placements=placements,
        constant_end=constant_end,
        scalars=scalars,
        frequencies=frequencies,
        tokens=tokens,
        positions=positions,
        table_numbers=table_numbers,
        tables=tables,
        table_entries=table_entries,
        parameters=parameters,
        residual=cursor.take("residual", FP32_BYTES * rows * a.hidden, "work"),
        normed=_codes(cursor, "normed", act, rows, a.hidden),
        queries=_codes(cursor, "queries", act, rows, head, heads=a.heads),
        keys=_codes(cursor, "keys", kv, rows, head, heads=a.kv_heads),
        values=_codes(cursor, "values", kv, rows, head, heads=a.kv_heads),
        attended=cursor.take("attended", FP32_BYTES * rows * a.heads * head, "work"),
        mixed=_codes(cursor, "mixed", act, rows, a.heads * head),
        gated=_codes(cursor, "gated", act, rows, a.intermediate),
        logits=cursor.take("logits", align(FP32_BYTES * a.outputs) * rows, "output"),
        sampled=cursor.take("sampled", 4 * sizes.sequences, "output"),
        pool=cursor.take("kv pool", page.page_bytes * sizes.pages, "pool"),
        page=page,
        end=0,
    )
    _check_capacity(cursor, chip, weight_end, page.page_bytes * sizes.pages, sizes)
    return replace(layout, regions=tuple(cursor.regions), end=cursor.at)


def _place_tensors(
    cursor: _Cursor, architecture: Architecture, recipe: Recipe
) -> tuple[Placement, ...]:
    shapes = dict(tensor_shapes(architecture))
    embedding = shapes.pop("model.embed_tokens.weight")
    out = [
        _place(cursor, EMBEDDING_ROWS, embedding, weight_format(EMBEDDING_ROWS, recipe, embedding))
    ]
    if architecture.head_tensor == "model.embed_tokens.weight":
        shapes[architecture.head_tensor] = embedding
    for name, shape in shapes.items():
        out.append(_place(cursor, name, shape, weight_format(name, recipe, shape)))
        if out[-1].factor:
            cursor.take(out[-1].factor, GRANULE_BYTES, "weights")
            address = cursor.regions[-1].address
            out.append(
                Placement(
                    name=out[-1].factor,
                    address=address,
                    rows=1,
                    columns=1,
                    format="fp32",
                    pitch_bytes=GRANULE_BYTES,
                    scale_address=0,
                    scale_pitch_bytes=0,
                )
            )
    return tuple(out)


def _place(cursor: _Cursor, name: str, shape: tuple[int, ...], format_name: str) -> Placement:
    rows, columns = (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    fmt = format_named(format_name)
    pitch = align(fmt.row_bytes(columns))
    scale_row = scale_pitch(fmt, columns)
    address = cursor.take(name, pitch * rows, "weights")
    scales = cursor.take(f"{name} scales", scale_row * rows, "weights") if scale_row else 0
    factored = len(shape) == 2 and format_name in FACTORED
    return Placement(
        name=name,
        address=address,
        rows=rows,
        columns=columns,
        format=format_name,
        pitch_bytes=pitch,
        scale_address=scales,
        scale_pitch_bytes=scale_row,
        factor=f"{name} factor" if factored else "",
    )


def _codes(
    cursor: _Cursor, name: str, fmt: Format, rows: int, columns: int, heads: int = 1
) -> Codes:
    """A buffer of `rows` rows of `heads` quantised vectors each."""
    pitch = align(fmt.row_bytes(columns))
    scale_row = scale_pitch(fmt, columns)
    address = cursor.take(name, heads * pitch * rows, "work")
    scales = cursor.take(f"{name} scales", heads * scale_row * rows, "work") if scale_row else 0
    return Codes(
        format=fmt,
        address=address,
        pitch=heads * pitch,
        scale_address=scales,
        scale_pitch=heads * scale_row,
        columns=padded(columns),
    )


def _check_capacity(
    cursor: _Cursor, chip: Chip, weight_bytes: int, pool_bytes: int, sizes: Sizes
) -> None:
    if cursor.at <= chip.hbm.capacity_bytes:
        return
    raise CapacityError(
        f"weights of {weight_bytes} bytes and a KV pool of {pool_bytes} bytes must fit the"
        f" {chip.hbm.capacity_bytes} bytes of {chip.name}'s memory; {cursor.at} are needed",
        hint=f"ask for less than {sizes.sequences} sequences of {sizes.context_tokens} tokens,"
        " or a format with fewer bits",
    )
