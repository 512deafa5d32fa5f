"""IP-XACT: what a tool must find in the component description."""

from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from tapeout.chip import load_chip
from tapeout.rtl.ip_xact import NAMESPACE, ip_xact, port_list
from tapeout.rtl.registers_map import CHIP, CORE
from tapeout.rtl.top import Top

CHIPS = Path(__file__).parents[2] / "chips"
Q = f"{{{NAMESPACE}}}"
ORDER = (  # of the schema of IEEE 1685-2014
    "vendor", "library", "name", "version", "busInterfaces", "addressSpaces", "memoryMaps",
    "model", "fileSets", "description",
)  # fmt: skip


@pytest.fixture(scope="module", params=["nano", "mid"])
def described(request):
    chip = load_chip(CHIPS / f"{request.param}.toml")
    top = Top(chip)
    text = ip_xact(
        top, version="1.2", cores=chip.cores, memory_bytes=chip.hbm.capacity_bytes,
        files=("rtl/a.sv",),
    )  # fmt: skip
    return chip, top, xml.fromstring(text)


def find(root, *path):
    return root.findall("/".join(Q + part for part in path))


def test_elements_stand_in_the_order_of_the_schema(described):
    _, _, root = described
    assert root.tag == f"{Q}component"
    assert [child.tag.removeprefix(Q) for child in root] == list(ORDER)


def test_every_port_is_described(described):
    _, top, root = described
    found = {}
    for port in find(root, "model", "ports", "port"):
        vector = find(port, "wire", "vectors", "vector")
        width = int(vector[0].find(f"{Q}left").text) + 1 if vector else 1
        found[port.find(f"{Q}name").text] = (width, port.find(f"{Q}wire/{Q}direction").text)
    assert found == {name: (width, direction) for name, width, direction in port_list(top)}


def test_buses_map_every_signal_to_a_port(described):
    chip, top, root = described
    buses = {bus.find(f"{Q}name").text: bus for bus in find(root, "busInterfaces", "busInterface")}
    assert list(buses) == [*(f"memory{i}" for i in range(chip.cores)), "control"]
    ports = {name for name, _, _ in port_list(top)}
    for prefix, bus in buses.items():
        maps = find(bus, "abstractionTypes", "abstractionType", "portMaps", "portMap")
        mapped = {
            m.find(f"{Q}logicalPort/{Q}name").text: m.find(f"{Q}physicalPort/{Q}name").text
            for m in maps
        }
        assert {"ACLK", "ARVALID", "RREADY", "WSTRB", "BRESP", "AWPROT"} <= mapped.keys()
        assert set(mapped.values()) == {"clk"} | {p for p in ports if p.startswith(f"{prefix}_")}
    assert buses["control"].find(f"{Q}slave") is not None
    assert buses["memory0"].find(f"{Q}master") is not None


def test_registers_have_fields_and_lie_apart(described):
    chip, _, root = described
    blocks = find(root, "memoryMaps", "memoryMap", "addressBlock")
    assert len(blocks) == 1 + chip.cores
    for block, registers in zip(blocks, (CHIP, *[CORE] * chip.cores), strict=True):
        words = find(block, "register")
        assert len(words) == sum(each.words * each.count for each in registers)
        offsets = [int(word.find(f"{Q}addressOffset").text[2:], 16) for word in words]
        assert len(set(offsets)) == len(offsets)
        assert all(offset % 4 == 0 and offset < 4096 for offset in offsets)
        for word in words:
            spans = [
                range(start := int(f.find(f"{Q}bitOffset").text),
                      start + int(f.find(f"{Q}bitWidth").text))
                for f in find(word, "field")
            ]  # fmt: skip
            bits = [bit for span in spans for bit in span]
            assert bits
            assert len(set(bits)) == len(bits)
            assert max(bits) < 32
