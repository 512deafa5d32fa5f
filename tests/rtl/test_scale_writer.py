"""Scales of rows become consecutive bytes, whatever the size of a chunk."""

import numpy as np
import pytest

from rtl.components import started
from tapeout.numerics import BLOCK
from tapeout.rtl.check import check_protocol
from tapeout.rtl.group_maxima import SIZES, SUB, sub_groups
from tapeout.rtl.scale_writer import ScaleWriter

ADDRESS_BITS = 12
KINDS = [(0, 16), (0, 32), (0, 0), (1, 32), (1, 128), (1, 0)]  # words, group; 0: a row
IDS = [f"{1 + words}byte-{size or 'row'}" for words, size in KINDS]


def chunks_and_rows(lanes, size, words, columns, rows, rng):
    """Chunks of scales as the quantiser has them, and the bytes of each row."""
    chunks, expected = [], []
    step = size or columns
    for _ in range(rows):
        scales = rng.integers(0, 1 << (8 << words), -(-columns // step)).astype(np.uint64)
        expected.append(scales.astype("<u2" if words else "u1").view(np.uint8))
        for start in range(0, columns, lanes) if size else (0,):
            last = start + lanes >= columns or not size
            if step > lanes and (start + lanes) % step and not last:
                continue  # its group goes on
            place = [min(start // step + i * SUB // step, len(scales) - 1)
                     for i in range(sub_groups(lanes))]  # fmt: skip
            noise = rng.integers(0, 256, len(place)).astype(np.uint64) << np.uint64(8)
            chunks.append([*(scales[place] | noise * np.uint64(not words)), last])
    return chunks, expected


def beats_of(chunks):
    """The scales, 16 bits each, and the flag above them."""
    out = np.zeros((len(chunks), 2 * (len(chunks[0]) - 1) + 1), np.uint8)
    for row, (*scales, last) in zip(out, chunks, strict=True):
        row[:-1] = np.array(scales).astype("<u2").view(np.uint8)
        row[-1] = last
    return out


def writes_to(memory, beats):
    """Apply writes: an address, 16 bytes and a mask of 16 bits."""
    for beat in beats:
        word = int.from_bytes(beat.tobytes(), "little")
        address, raw = (
            word & ((1 << ADDRESS_BITS) - 1),
            (word >> ADDRESS_BITS).to_bytes(18, "little"),
        )
        mask = np.unpackbits(np.frombuffer(raw[16:], np.uint8), bitorder="little").astype(bool)
        window = memory[16 * address :][:16]
        window[mask] = np.frombuffer(raw[:16], np.uint8)[mask]


@pytest.mark.parametrize("lanes", [4, 16, 64, 256, 1024])
@pytest.mark.parametrize(("words", "size"), KINDS, ids=IDS)
def test_rows_of_scales(words, size, lanes):
    rng = np.random.default_rng(lanes)
    model = started(ScaleWriter(lanes=lanes, address_bits=ADDRESS_BITS))
    for columns in (32, 96, 1056, 2048):
        rows, address, pitch = 3, 5, 17
        chunks, expected = chunks_and_rows(lanes, size, words, columns, rows, rng)
        tail = ((columns - 1) % lanes) // BLOCK + 1 if lanes > BLOCK else 1
        group = SIZES.index(size) if size else len(SIZES)
        config = dict(address=address, pitch=pitch, words=words, group=group, tail_blocks=tail)
        for port, value in config.items():
            model.set(port, value)
        model.set("start", 1)
        model.tick()
        model.set("start", 0)
        parts = max(1, (lanes // (size or lanes) << words) // 16)
        beats = beats_of(chunks)
        run = model.run({"chunks": beats}, {"write_request": len(beats) * parts})
        assert not run.violations, run.violations
        memory = np.zeros(16 << ADDRESS_BITS, np.uint8)
        writes_to(memory, run.beats["write_request"])
        for row, want in enumerate(expected):
            start = 16 * (address + row * pitch)
            assert np.array_equal(memory[start : start + len(want)], want)
            memory[start : start + len(want)] = 0
        assert not memory.any()
        assert model.get("empty") == 1


def test_the_writer_keeps_the_protocol():
    writer = ScaleWriter(lanes=64, address_bits=ADDRESS_BITS)
    chunks, _ = chunks_and_rows(64, 32, 1, 96, 200, np.random.default_rng(1))
    model = started(writer)
    config = dict(words=1, group=1, tail_blocks=1, address=0, start=0)
    for port, value in {**config, "pitch": 0}.items():  # with this pitch runs are alike
        model.set(port, value)
    check_protocol(model, {"chunks": beats_of(chunks)}, {"write_request": len(chunks)})
