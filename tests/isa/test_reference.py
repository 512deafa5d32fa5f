import re

import pytest

from tapeout.isa import OPERATIONS, Operation, isa_page
from tapeout.isa.encoding import HEADER, fields
from tapeout.isa.reference import HEADER_MEANING


@pytest.mark.parametrize("cls", OPERATIONS)
def test_every_operation_has_its_section_with_every_field(cls: type[Operation]):
    (section,) = re.findall(rf"^### {cls.__name__}\n(.*?)(?=^##)", isa_page(), re.S | re.M)
    assert f"Opcode `{cls.opcode:#04x}`" in section
    assert (cls.__doc__ or "").splitlines()[0] in section
    rows = re.findall(r"^\| (\d+)(?:\.\.(\d+))? \| `(\w+)` \| (\d+) \|", section, re.M)
    assert [name for _, _, name, _ in rows] == list(fields(cls))
    at = 64
    for (low, high, _, unit), field in zip(rows, fields(cls).values(), strict=True):
        assert (int(low), int(high or low)) == (at, at + field.bits - 1)
        assert int(unit) == field.unit
        at += field.bits


def test_header_fields_all_have_a_meaning():
    assert list(HEADER_MEANING) == list(HEADER)


def test_tables_are_well_formed():
    for block in re.findall(r"(?:^\|.*\n)+", isa_page(), re.M):
        rows = block.splitlines()
        assert set(rows[1]) <= set("|- ")
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1, rows[0]


def test_values_with_formulas_show_them():
    assert "| 5 | `SILU_MUL` | `silu(a) * b` |" in isa_page()
    assert "| 9 | `mxfp4` | e2m1 | e8m0 | 32 |" in isa_page()
    assert "| `0x50`..`0x5f` | block selection (BSEL) |" in isa_page()
