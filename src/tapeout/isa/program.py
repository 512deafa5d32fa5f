"""A program: what every core runs, where memory holds what, and what changes from run to run.

A program file is, all numbers little-endian: 8 bytes `TAPEOUT1`; the format version, the bytes of
the header and the number of instructions as 32-bit numbers; the header as JSON; the instructions
of core 0, core 1, ..., 32 bytes each; and the SHA-256 of everything before it.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from tapeout.chip import Chip
from tapeout.errors import EncodingError, TrapError
from tapeout.isa.encoding import WORD_BYTES, decode, encode
from tapeout.isa.fields import REGISTERS
from tapeout.isa.instructions import Instruction

MAGIC = b"TAPEOUT1"
VERSION = 1
START = struct.Struct("<8sIII")
DIGEST_BYTES = 32
MAX_FILE_BYTES = 1 << 30

MEMORY_BYTES = 1 << 40
"""What an address field of an instruction reaches."""

MAX_CORES = 64
TABLE_ENTRY_BYTES = 4
SCALAR_MAX = (1 << 47) - 1

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024)]
Address: TypeAlias = Annotated[int, Meta(ge=0, lt=MEMORY_BYTES)]
Count: TypeAlias = Annotated[int, Meta(gt=0, le=MEMORY_BYTES)]
Pitch: TypeAlias = Annotated[int, Meta(ge=0, le=MEMORY_BYTES)]
ScalarValue: TypeAlias = Annotated[int, Meta(ge=0, le=SCALAR_MAX)]
Word32: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 32)]
NoteValue: TypeAlias = str | Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Kind: TypeAlias = Literal["weights", "constants", "input", "work", "pool", "output"]


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """A run-time argument within low..high, put in a register of every core before the start."""

    name: Name
    register: Annotated[int, Meta(ge=1, lt=REGISTERS)]
    low: ScalarValue
    high: ScalarValue


@dataclass(frozen=True, kw_only=True)
class Region:
    """A named range of memory, and who writes it when.

    weights, constants: filled before the first run, never written by the program. input: written
    by the host before each run. work: scratch, written before it is read. pool: the paged KV
    cache. output: read by the host after a run.
    """

    name: Name
    address: Address
    size_bytes: Count
    kind: Kind

    @property
    def end(self) -> int:
        """The first address after the region."""
        return self.address + self.size_bytes


@dataclass(frozen=True, kw_only=True)
class Table:
    """32-bit numbers in an input region that `LoadScalar` reads, each in low..high (inclusive)."""

    name: Name
    address: Address
    count: Count
    low: Word32
    high: Word32


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a tensor of the checkpoint, or a constant, lies in memory, and in which format.

    `scale_pitch_bytes` is 0 for a format without block scales. `factor` names the FP32 factor of
    the whole tensor, if it has one.
    """

    name: Name
    address: Address
    rows: Count
    columns: Count
    format: Name
    pitch_bytes: Pitch
    scale_address: Address
    scale_pitch_bytes: Pitch
    factor: str = ""


@dataclass(frozen=True, kw_only=True)
class Program:
    """The instructions of each core, and all that a host must know to run them.

    `chip` is the fingerprint of the only chip that runs it.
    """

    name: Name
    chip: Name
    cores: tuple[tuple[Instruction, ...], ...]
    scalars: tuple[Scalar, ...] = ()
    regions: tuple[Region, ...] = ()
    tables: tuple[Table, ...] = ()
    placements: tuple[Placement, ...] = ()
    notes: dict[str, NoteValue] = field(default_factory=dict[str, NoteValue])


def register_values(program: Program, chip: Chip, scalars: dict[str, int]) -> dict[int, int]:
    """What the registers of scalars hold when a chip starts a program.

    Raises:
        TrapError: if the program is for another chip, or a scalar is out of bounds.
    """
    if program.chip != chip.fingerprint:
        raise TrapError(
            f"the program must be for chip {chip.fingerprint}, not {program.chip}",
            hint=f"build it again for {chip.name}",
        )
    values: dict[int, int] = {}
    for scalar in program.scalars:
        value = scalars.get(scalar.name)
        if value is None or not scalar.low <= value <= scalar.high:
            raise TrapError(
                f"scalar {scalar.name} must be in {scalar.low}..{scalar.high}, not {value}"
            )
        values[scalar.register] = value
    return values


@dataclass(frozen=True, kw_only=True)
class _Header:
    """A program without its instructions: `instructions` counts them for each core."""

    name: Name
    chip: Name
    instructions: Annotated[tuple[Pitch, ...], Meta(min_length=1, max_length=MAX_CORES)]
    scalars: tuple[Scalar, ...]
    regions: tuple[Region, ...]
    tables: tuple[Table, ...]
    placements: tuple[Placement, ...]
    notes: dict[str, NoteValue]


def to_bytes(program: Program) -> bytes:
    """The bytes of a program file; equal programs give equal bytes.

    Raises:
        EncodingError: if an instruction does not fit its encoding, or the memory map is wrong.
    """
    header = _Header(
        name=program.name,
        chip=program.chip,
        instructions=tuple(len(core) for core in program.cores),
        scalars=program.scalars,
        regions=program.regions,
        tables=program.tables,
        placements=program.placements,
        notes=program.notes,
    )
    try:
        text = msgspec.json.encode(header, order="sorted")
    except (ValueError, OverflowError) as error:
        raise EncodingError(str(error), where=f"program {program.name!r}") from error
    _read_header(text)
    words = [encode(instruction) for core in program.cores for instruction in core]
    data = b"".join([START.pack(MAGIC, VERSION, len(text), len(words)), text, *words])
    return data + hashlib.sha256(data).digest()


def from_bytes(data: bytes) -> Program:
    """The program in the bytes of a program file; the inverse of `to_bytes`.

    Raises:
        EncodingError: if the bytes are no program file, or not one that this version reads.
    """
    header_bytes, count = _read_start(data)
    body = data[:-DIGEST_BYTES]
    if hashlib.sha256(body).digest() != data[-DIGEST_BYTES:]:
        raise EncodingError(
            "the checksum does not match the contents: a bit of the file has changed",
            hint="build the program again",
        )
    header = _read_header(body[START.size : START.size + header_bytes])
    if sum(header.instructions) != count:
        raise EncodingError(
            f"the header must count {count} instructions, not {sum(header.instructions)}"
        )
    words = body[START.size + header_bytes :]
    return Program(
        name=header.name,
        chip=header.chip,
        cores=tuple(_read_cores(words, header.instructions)),
        scalars=header.scalars,
        regions=header.regions,
        tables=header.tables,
        placements=header.placements,
        notes=header.notes,
    )


def write_program(program: Program, path: Path) -> None:
    """Write a program file; `path` never holds half a program.

    Raises:
        EncodingError: as `to_bytes`, or if the file cannot be written.
    """
    data = to_bytes(program)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise EncodingError(f"cannot write the file: {error.strerror}", where=str(path)) from error


def read_program(path: Path) -> Program:
    """Read a program file.

    Raises:
        EncodingError: if it cannot be read, or as `from_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(START.size)
            _check_start(data)
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise EncodingError(f"a program file has at most {MAX_FILE_BYTES} bytes")
            return from_bytes(data + file.read(MAX_FILE_BYTES))
    except OSError as error:
        raise EncodingError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    except EncodingError as error:
        where = f"{path}, {error.where}" if error.where else str(path)
        raise EncodingError(error.problem, where=where, hint=error.hint) from error


def _read_start(data: bytes) -> tuple[int, int]:
    """Bytes of the header and number of instructions of a file that has the size it claims."""
    _check_start(data)
    _, _, header_bytes, count = START.unpack_from(data)
    size = START.size + header_bytes + count * WORD_BYTES + DIGEST_BYTES
    if len(data) < size:
        raise EncodingError(f"the file is cut off: it must have {size} bytes, not {len(data)}")
    if len(data) > size:
        raise EncodingError(f"{len(data) - size} bytes follow the end of the program")
    return header_bytes, count


def _check_start(data: bytes) -> None:
    if data[: len(MAGIC)] != MAGIC:
        raise EncodingError(
            f"a program file must begin with {MAGIC.decode()}", hint="is it a program file?"
        )
    if len(data) < START.size:
        raise EncodingError(f"the file is cut off after {len(data)} bytes")
    version = START.unpack_from(data)[1]
    if version != VERSION:
        raise EncodingError(
            f"program format {version} is unknown: this tapeout reads format {VERSION}",
            hint="build the program again, or use the tapeout that wrote it",
        )


def _read_header(text: bytes) -> _Header:
    """Parse and check a header; only the bytes that `to_bytes` writes are accepted."""
    try:
        header = msgspec.json.decode(text, type=_Header)
        unknown = sorted(_unknown_keys(msgspec.json.decode(text), asdict(header)))
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise EncodingError(str(error), where="header") from error
    if unknown:
        raise EncodingError(f"unknown key `{unknown[0]}`", where="header")
    if msgspec.json.encode(header, order="sorted") != text:
        raise EncodingError("the header is not in the form that is written", where="header")
    _check_regions(header.regions)
    _check_scalars(header.scalars)
    _check_tables(header.tables, header.regions)
    _check_placements(header.placements, header.regions)
    return header


def _unknown_keys(given: Any, known: Any) -> Iterator[str]:
    """Keys of `given` that `known`, the same data as read, has not got."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key in known:
                yield from _unknown_keys(value, known[key])
            else:
                yield key
    elif isinstance(given, list):
        for one, other in zip(given, known, strict=True):
            yield from _unknown_keys(one, other)


def _read_cores(words: bytes, counts: Iterable[int]) -> Iterator[tuple[Instruction, ...]]:
    at = 0
    for core, count in enumerate(counts):
        instructions: list[Instruction] = []
        for index in range(count):
            try:
                instructions.append(decode(words[at : at + WORD_BYTES]))
            except EncodingError as error:
                where = f"core {core}, instruction {index}, {error.where}"
                raise EncodingError(error.problem, where=where) from error
            at += WORD_BYTES
        yield tuple(instructions)


def _check_names(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise EncodingError(f"two {kind} have the name `{name}`", where="header")
        seen.add(name)


def _check_regions(regions: tuple[Region, ...]) -> None:
    _check_names("regions", (region.name for region in regions))
    for region in regions:
        if region.end > MEMORY_BYTES:
            raise EncodingError(
                f"region `{region.name}` must end by {MEMORY_BYTES:#x}, not {region.end:#x}",
                where="header",
            )
    for one, other in pairwise(sorted(regions, key=lambda region: region.address)):
        if one.end > other.address:
            raise EncodingError(
                f"regions `{one.name}` and `{other.name}` overlap at {other.address:#x}",
                where="header",
            )


def _check_scalars(scalars: tuple[Scalar, ...]) -> None:
    _check_names("scalars", (scalar.name for scalar in scalars))
    _check_names("scalars", (f"r{scalar.register}" for scalar in scalars))
    for scalar in scalars:
        if scalar.low > scalar.high:
            raise EncodingError(
                f"scalar `{scalar.name}` must have low <= high, not {scalar.low} and {scalar.high}",
                where="header",
            )


def _check_tables(tables: tuple[Table, ...], regions: tuple[Region, ...]) -> None:
    _check_names("tables", (table.name for table in tables))
    inputs = [region for region in regions if region.kind == "input"]
    for table in tables:
        if table.low > table.high:
            raise EncodingError(
                f"table `{table.name}` must have low <= high, not {table.low} and {table.high}",
                where="header",
            )
        end = table.address + table.count * TABLE_ENTRY_BYTES
        if not any(r.address <= table.address and end <= r.end for r in inputs):
            raise EncodingError(f"table `{table.name}` must lie in an input region", where="header")


def _check_placements(placements: tuple[Placement, ...], regions: tuple[Region, ...]) -> None:
    fixed = [region for region in regions if region.kind in ("weights", "constants")]
    for one in placements:
        arrays = [(one.address, one.pitch_bytes)]
        if one.scale_pitch_bytes:
            arrays.append((one.scale_address, one.scale_pitch_bytes))
        for address, pitch_bytes in arrays:
            last = address + (one.rows - 1) * pitch_bytes
            if not any(r.address <= address and last < r.end for r in fixed):
                raise EncodingError(
                    f"`{one.name}` at {address:#x} must lie in a weights or constants region",
                    where="header",
                )
