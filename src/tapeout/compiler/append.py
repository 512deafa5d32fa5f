"""Keys and values of a step's tokens on their way to the pages of the KV cache."""

from tapeout.compiler.core import CoreBuilder
from tapeout.compiler.layout import align
from tapeout.compiler.spans import Span
from tapeout.errors import CapacityError
from tapeout.isa.fields import GRANULE_BYTES, Space
from tapeout.isa.instructions import StorePages

KEYS, VALUES, KEY_SCALES, VALUE_SCALES = range(4)
"""Parts of a head in a page, as `PageLayout.offset` numbers them."""


def append_rows(b: CoreBuilder, heads: list[int]) -> int:
    """Tokens that are appended at once: a power of two."""
    line = align(b.layout.page.key_bytes) * 2 * len(heads)
    scales = GRANULE_BYTES * 2 * len(heads)
    room = min(
        (b.chip.core.l1_bytes - b.constants_end) // line, b.chip.core.scale_bytes // scales, 256
    )
    if room < 1:
        raise CapacityError(
            f"keys and values of one token must fit {b.chip.name}'s core",
            hint="take a chip with more L1 and scale memory",
        )
    return 1 << (room.bit_length() - 1)


def append(b: CoreBuilder, layer: int, heads: list[int], span: Span) -> None:
    """Write the span's keys and values to their pages."""
    buffers = b.buffers("the new keys and values")
    page = b.layout.page
    most = min(append_rows(b, heads), b.tokens_per_sequence)
    for part, source in ((KEYS, b.layout.keys), (VALUES, b.layout.values)):
        codes = b.times(span.row, source.pitch)
        scales = b.times(span.row, source.scale_pitch)
        pitch = source.pitch // b.architecture.kv_heads
        scale_bytes = page.key_scale_bytes if part == KEYS else page.value_scale_bytes
        step = source.scale_pitch // b.architecture.kv_heads
        for head in heads:
            at = buffers.take(most * pitch)
            place = source.address + head * pitch
            b.load(place, source.pitch, Space.L1, at, pitch, pitch, rows=span.count, src_reg=codes)
            _store_pages(
                b, Space.L1, at, pitch, span, page.offset(layer, head, part), page.key_bytes
            )
            if scale_bytes:
                at = buffers.take_scales(most * step)
                place = source.scale_address + head * step
                b.load(
                    place,
                    source.scale_pitch,
                    Space.SCALE,
                    at,
                    step,
                    step,
                    rows=span.count,
                    src_reg=scales,
                )
                offset = page.offset(layer, head, part + 2)
                _store_pages(b, Space.SCALE, at, step, span, offset, scale_bytes)
        b.emitter.free(codes, scales)


def _store_pages(
    b: CoreBuilder, space: Space, src: int, pitch: int, span: Span, offset: int, row_bytes: int
) -> None:
    page = b.layout.page
    b.emitter.emit(
        StorePages(
            space=space,
            src=src,
            src_pitch=pitch,
            table=span.table.number,
            first=span.position.number,
            count=span.count.number,
            pool=b.layout.pool,
            page_bytes=page.page_bytes,
            offset=offset,
            page_log2=page.page_tokens.bit_length() - 1,
            row_bytes=row_bytes,
        )
    )
